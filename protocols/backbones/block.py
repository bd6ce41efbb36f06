"""Convolution, BatchNorm, ReLU, and the halving of the map that may update_running_statistics.

On a CPU what follows a convolution takes PyTorch longer than the convolution itself: its kernels for channels-last
memory are vectorised over channels, of which small backbones have few, and each goes over the whole map. Here a row of
pixels with all its channels is one vector, and :mod:`protocols.backbones.kernels` does everything at once. What comes
out is the same, to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from protocols.backbones import kernels
from protocols.backbones.norm import update_running_statistics
from protocols.backbones.pool import across, is_halvable, spread
from protocols.system.compiled import works

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 64
"""Channels and neighbouring pixels whose statistics are taken side by side."""

LEAST = 2**20
"""Numbers in a map from which on it is worth the trouble."""


class Block(nn.Sequential):
    """A convolution without bias, BatchNorm and ReLU.

    Attributes:
        reference: do one after the other always; the slow way, to compare with.
    """

    reference = False

    def __init__(self, width_in: int, width_out: int, size: int = 3, stride: int = 1) -> None:
        convolution = convolution_of(width_in, width_out, size, stride)
        super().__init__(convolution, nn.BatchNorm2d(width_out), nn.ReLU())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(n, in, h, w) to (n, out, h / stride, w / stride)."""
        convolution, norm, relu = self
        maps: Tensor = convolution(input)
        if self.is_quick(maps):
            return normed(norm, maps, rows=1)
        activated: Tensor = relu(norm(maps))
        return activated

    def halved(self, images: Tensor) -> Tensor:
        """The same, and the mean of 2×2 pixels: (n, in, h, w) to (n, out, h / 2, w / 2)."""
        convolution, norm, relu = self
        maps: Tensor = convolution(images)
        if self.is_quick(maps) and is_halvable(maps):
            return normed(norm, maps, rows=2)
        return F.avg_pool2d(relu(norm(maps)), 2)

    def is_quick(self, maps: Tensor) -> bool:
        """Whether what follows the convolution is done at once."""
        alone = type(self[1]) is nn.BatchNorm2d and self.training and not self.reference
        return alone and is_fit(maps) and works()


def convolution_of(width_in: int, width_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A square convolution without bias that keeps the side, divided by ``stride``."""
    layer = nn.Conv2d(width_in, width_out, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def is_fit(maps: Tensor) -> bool:
    """Whether maps lie as they must, and there are enough of them."""
    channels, width = maps.shape[1], max(WIDTH, maps.shape[1])
    divides = width % channels == 0 and maps.numel() % width == 0
    in_place = maps.device.type == "cpu" and maps.is_contiguous(memory_format=torch.channels_last)
    return in_place and divides and maps.numel() >= LEAST


def normed(norm: nn.Module, maps: Tensor, rows: int) -> Tensor:
    """BatchNorm, which learns from the maps, and ReLU; of 2 rows, the mean of 2×2 pixels too."""
    assert isinstance(norm, nn.BatchNorm2d)
    out, mean, variance = NormRelu.apply(maps, norm.weight, norm.bias, (norm.eps, rows))
    update_running_statistics(norm, mean, variance, maps.numel() // maps.shape[1])
    activated: Tensor = out
    return activated


class NormRelu(torch.autograd.Function):
    """Training-mode BatchNorm, ReLU and, of 2 rows, average pooling of maps in channels-last memory."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, options: tuple[float, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The outcome, and mean and variance of each channel."""
        (n, channels, height, width), (eps, rows) = maps.shape, options
        mean, variance = statistics(maps)
        rstd = (variance + eps).rsqrt()
        scale = weight * rstd
        affine = wide(width, scale, bias - mean * scale)
        y = maps.permute(0, 2, 3, 1).reshape(n * height // rows, rows, width * channels)
        out = kernels.activated(y, affine)
        ctx.shape = maps.shape
        ctx.save_for_backward(y, affine, scale, mean, rstd)
        ctx.mark_non_differentiable(mean, variance)
        pixels = (across(out, channels) if rows == 2 else out).view(n, height // rows, width // rows, channels)
        return pixels.permute(0, 3, 1, 2), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for the maps, weight and bias."""
        n, channels, height, width = ctx.shape
        y, affine, scale, mean, rstd = ctx.saved_tensors
        pixels, rows = grad.permute(0, 2, 3, 1).contiguous(), y.shape[1]
        back = (spread(pixels, channels) if rows == 2 else pixels).view(-1, width * channels)
        by_image = y.view(n, -1, *y.shape[1:]), back.view(n, -1, width * channels)
        sums, products = (
            of_images.sum(0).view(width, channels).sum(0)
            for of_images in kernels.slopes(*by_image, affine, wide(width, mean)[0])
        )
        slope = -scale * rstd.square() * products / (n * height * width)
        constant = -scale * sums / (n * height * width) - slope * mean
        grad_maps = kernels.gradient(y, back, affine, wide(width, slope, constant))
        return grad_maps.view(n, height, width, channels).permute(0, 3, 1, 2), rstd * products, sums, None


def wide(width: int, *values: Tensor) -> Tensor:
    """Values (channels,) for a row of pixels, (values, width · channels)."""
    return torch.stack(values).repeat(1, width)


def statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (channels,) in float32, by torch's kernel for many channels."""
    channels = maps.shape[1]
    columns = maps.permute(0, 2, 3, 1).reshape(-1, max(WIDTH, channels))
    zeros, ones = torch.zeros(columns.shape[1]), torch.ones(columns.shape[1])
    means, variances = torch.ops.aten.batch_norm_update_stats(columns, zeros, ones, 0.0)
    means, variances = means.view(-1, channels), variances.view(-1, channels)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)
