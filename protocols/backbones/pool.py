"""Pooling in channels-last memory.

PyTorch's average pooling there is vectorised over channels, and with 8 of them takes longer on a CPU than the
convolution before it. Here neighbouring pixels are averaged by a product with a small matrix.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

MIN_ROW_LENGTH = 32
"""Values in a row of the matrix product, at least."""


class SpatialMean(nn.Module):
    """The mean over all pixels, written so that its gradient keeps channels-last memory.

    Attributes:
        reference: average by ``maps.mean``; slower, to compare with.
    """

    reference = False

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels)."""
        return maps.mean((2, 3)) if self.reference else maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def can_halve(maps: Tensor) -> bool:
    """Whether :func:`average_pairs` applies to maps (n, channels, height, width)."""
    channels, height, width = maps.shape[1:]
    length = row_length(channels)
    return height % 2 == 0 and (width * channels) % length == 0 and length % (2 * channels) == 0


def average_pairs(rows: Tensor, channels: int) -> Tensor:
    """Average pooling over 2×2 pixels, of which each two rows are summed already: half as many values."""
    return rows.view(-1, row_length(channels)) @ pooling_matrix(channels, rows.dtype)


def average_pairs_backward(grad: Tensor, channels: int) -> Tensor:
    """The gradient of :func:`average_pairs` for ``rows``: twice as many values."""
    return grad.view(-1, row_length(channels) // 2) @ pooling_matrix(channels, grad.dtype).T


def row_length(channels: int) -> int:
    """Values in a row of the matrix product."""
    return max(MIN_ROW_LENGTH, 2 * channels)


@functools.cache
def pooling_matrix(channels: int, dtype: torch.dtype) -> Tensor:
    """(t, t / 2) matrix that adds the channels of each two neighbouring pixels, and divides by four."""
    pair = torch.eye(channels).repeat(2, 1)
    return (torch.kron(torch.eye(row_length(channels) // (2 * channels)), pair) / 4).to(dtype)
