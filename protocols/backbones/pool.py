"""Pooling in channels-last memory.

PyTorch's average pooling there is vectorised over channels, and with 8 of them takes longer on a CPU than the
convolution before it. Here neighbouring pixels are brought together by a product with a small matrix.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 32
"""Neighbouring pixels' channels that a product takes together, at least."""


class SpatialMean(nn.Module):
    """The mean over all pixels, written so that its gradient keeps channels-last memory.

    Attributes:
        reference: as its definition reads; the slow way, to compare with.
    """

    reference = False

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels)."""
        return maps.mean((2, 3)) if self.reference else maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def is_halvable(maps: Tensor) -> bool:
    """Whether maps (n, channels, height, width) can be halved by :func:`across`."""
    channels, height, width = maps.shape[1:]
    together = taken(channels)
    return height % 2 == 0 and (width * channels) % together == 0 and together % (2 * channels) == 0


def across(rows: Tensor, channels: int) -> Tensor:
    """Each two neighbouring pixels of sums of two rows brought to the mean of all four: half as many numbers."""
    return rows.view(-1, taken(channels)) @ neighbours(channels, rows.dtype)


def spread(grad: Tensor, channels: int) -> Tensor:
    """The gradient of :func:`across` for the rows: twice as many numbers."""
    return grad.view(-1, taken(channels) // 2) @ neighbours(channels, grad.dtype).T


def taken(channels: int) -> int:
    """Numbers that a product takes together."""
    return max(WIDTH, 2 * channels)


@functools.cache
def neighbours(channels: int, dtype: torch.dtype) -> Tensor:
    """(t, t / 2) that adds the channels of each two neighbouring pixels, and divides by four."""
    pair = torch.eye(channels).repeat(2, 1)
    return (torch.kron(torch.eye(taken(channels) // (2 * channels)), pair) / 4).to(dtype)
