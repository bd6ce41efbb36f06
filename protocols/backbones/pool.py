"""Pooling in channels-last memory.

PyTorch's average pooling there is vectorised over channels, like its BatchNorm, and with 8 of them takes longer on a
CPU than the convolution before it. Here two rows are added as they lie in memory, and neighbouring pixels by a product
with a small matrix. What comes out is average pooling, to rounding.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

LANES = 32
"""Channels from which on PyTorch's own kernel is as fast as it gets."""

WIDTH = 32
"""Neighbouring pixels' channels that a product takes together."""


class AvgPool2d(nn.Module):
    """``torch.nn.AvgPool2d(2)``, faster where there are few channels on a CPU in channels-last memory.

    Attributes:
        plain: leave it to torch always; the slow way, to compare with.
    """

    plain = False

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels, height / 2, width / 2)."""
        if self.plain or torch.compiler.is_compiling() or not is_narrow(maps):
            return F.avg_pool2d(maps, 2)
        pooled: Tensor = NarrowPool.apply(maps)
        return pooled


class SpatialMean(nn.Module):
    """The mean over all pixels, written so that its gradient keeps channels-last memory.

    Attributes:
        plain: as its definition reads; the slow way, to compare with.
    """

    plain = False

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels)."""
        return maps.mean((2, 3)) if self.plain else maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def is_narrow(x: Tensor) -> bool:
    """Whether the kernel would be slow, and rows of pixels divide into whole products."""
    channels, height, width = x.shape[1:]
    fits = len(x) > 0 and height % 2 == 0 and (width * channels) % WIDTH == 0 and WIDTH % (2 * channels) == 0
    return x.device.type == "cpu" and channels < LANES and fits and x.is_contiguous(memory_format=torch.channels_last)


class NarrowPool(torch.autograd.Function):
    """Mean of 2×2 pixels in channels-last memory."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels, height / 2, width / 2)."""
        n, channels, height, width = ctx.shape = maps.shape
        rows = maps.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width * channels)
        pooled = (rows[:, :, 0] + rows[:, :, 1]).view(-1, WIDTH) @ neighbours(channels, maps.dtype)
        return pooled.view(n, height // 2, width // 2, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Gradient for the maps."""
        n, channels, height, width = ctx.shape
        pooled = grad.permute(0, 2, 3, 1).reshape(-1, WIDTH // 2)
        rows = (pooled @ neighbours(channels, grad.dtype).T).view(n, height // 2, 1, width * channels)
        return rows.expand(-1, -1, 2, -1).reshape(n, height, width, channels).permute(0, 3, 1, 2)


@functools.cache
def neighbours(channels: int, dtype: torch.dtype) -> Tensor:
    """(``WIDTH``, ``WIDTH`` / 2) that adds the channels of each two neighbouring pixels, and divides by four."""
    pair = torch.eye(channels).repeat(2, 1)
    return (torch.kron(torch.eye(WIDTH // (2 * channels)), pair) / 4).to(dtype)
