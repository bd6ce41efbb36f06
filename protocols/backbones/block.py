"""Convolution, BatchNorm and ReLU, optionally followed by 2×2 average pooling.

On a CPU what follows a convolution takes PyTorch longer than the convolution itself: its kernels for channels-last
memory are vectorised over channels, of which small backbones have few, and each passes over the whole map. Here a row
of pixels with all its channels is one vector, and :mod:`protocols.backbones.kernels` fuses the operations. Results are
equal to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from protocols.backbones import kernels
from protocols.backbones.norm import update_running_statistics
from protocols.backbones.pool import average_pairs, average_pairs_backward, can_halve
from protocols.system.compiled import compilation_works

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS_WIDTH = 64
"""Columns of the matrix whose statistics are computed: the channels of as many neighbouring pixels as fit."""

MIN_NUMEL = 2**20
"""Values in a batch of maps from which on the fused kernels pay."""


class Block(nn.Sequential):
    """A convolution without bias, BatchNorm and ReLU.

    Attributes:
        reference: apply one operation after the other; slower, to compare with.
    """

    reference = False

    def __init__(self, width_in: int, width_out: int, size: int = 3, stride: int = 1) -> None:
        convolution = convolution_of(width_in, width_out, size, stride)
        super().__init__(convolution, nn.BatchNorm2d(width_out), nn.ReLU())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(n, in, h, w) to (n, out, h / stride, w / stride)."""
        convolution, norm, relu = self
        maps: Tensor = convolution(input)
        if self.is_fused(maps):
            return fused_norm_relu(norm, maps, rows=1)
        activated: Tensor = relu(norm(maps))
        return activated

    def forward_pooled(self, images: Tensor) -> Tensor:
        """:meth:`forward` and average pooling over 2×2 pixels: (n, in, h, w) to (n, out, h / 2, w / 2)."""
        convolution, norm, relu = self
        maps: Tensor = convolution(images)
        if self.is_fused(maps) and can_halve(maps):
            return fused_norm_relu(norm, maps, rows=2)
        return F.avg_pool2d(relu(norm(maps)), 2)

    def is_fused(self, maps: Tensor) -> bool:
        """Whether the operations after the convolution run as fused kernels."""
        standard = type(self[1]) is nn.BatchNorm2d and self.training and not self.reference
        return standard and can_fuse(maps) and compilation_works()


def convolution_of(width_in: int, width_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A square convolution without bias that keeps the side, divided by ``stride``."""
    layer = nn.Conv2d(width_in, width_out, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def can_fuse(maps: Tensor) -> bool:
    """Whether the fused kernels apply to the memory layout of maps, and pay for their size."""
    channels, width = maps.shape[1], max(STATISTICS_WIDTH, maps.shape[1])
    divides = width % channels == 0 and maps.numel() % width == 0
    channels_last = maps.device.type == "cpu" and maps.is_contiguous(memory_format=torch.channels_last)
    return channels_last and divides and maps.numel() >= MIN_NUMEL


def fused_norm_relu(norm: nn.Module, maps: Tensor, rows: int) -> Tensor:
    """BatchNorm in training mode and ReLU; with ``rows`` 2, average pooling over 2×2 pixels too."""
    assert isinstance(norm, nn.BatchNorm2d)
    out, mean, variance = NormRelu.apply(maps, norm.weight, norm.bias, (norm.eps, rows))
    update_running_statistics(norm, mean, variance, maps.numel() // maps.shape[1])
    activated: Tensor = out
    return activated


class NormRelu(torch.autograd.Function):
    """BatchNorm in training mode and ReLU of maps in channels-last memory; with two rows, average pooling too."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, options: tuple[float, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The output, and mean and variance of each channel."""
        (n, channels, height, width), (eps, rows) = maps.shape, options
        mean, variance = statistics(maps)
        rstd = (variance + eps).rsqrt()
        scale = weight * rstd
        affine = repeat_over_pixels(width, scale, bias - mean * scale)
        y = maps.permute(0, 2, 3, 1).reshape(n * height // rows, rows, width * channels)
        out = kernels.affine_relu(y, affine)
        ctx.shape = maps.shape
        ctx.save_for_backward(y, affine, scale, mean, rstd)
        ctx.mark_non_differentiable(mean, variance)
        pixels = (average_pairs(out, channels) if rows == 2 else out).view(n, height // rows, width // rows, channels)
        return pixels.permute(0, 3, 1, 2), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for the maps, weight and bias."""
        n, channels, height, width = ctx.shape
        y, affine, scale, mean, rstd = ctx.saved_tensors
        pixels, rows = grad.permute(0, 2, 3, 1).contiguous(), y.shape[1]
        back = (average_pairs_backward(pixels, channels) if rows == 2 else pixels).view(-1, width * channels)
        by_image = y.view(n, -1, *y.shape[1:]), back.view(n, -1, width * channels)
        sums, products = (
            image_sums.sum(0).view(width, channels).sum(0)
            for image_sums in kernels.affine_relu_gradient_sums(*by_image, affine, repeat_over_pixels(width, mean)[0])
        )
        slope = -scale * rstd.square() * products / (n * height * width)
        constant = -scale * sums / (n * height * width) - slope * mean
        grad_maps = kernels.affine_relu_backward(y, back, affine, repeat_over_pixels(width, slope, constant))
        return grad_maps.view(n, height, width, channels).permute(0, 3, 1, 2), rstd * products, sums, None


def repeat_over_pixels(width: int, *values: Tensor) -> Tensor:
    """Values (channels,) repeated for each pixel of a row, (values, width · channels)."""
    return torch.stack(values).repeat(1, width)


def statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (channels,) in float32, computed by torch for the channels of several pixels at once."""
    channels = maps.shape[1]
    columns = maps.permute(0, 2, 3, 1).reshape(-1, max(STATISTICS_WIDTH, channels))
    zeros, ones = torch.zeros(columns.shape[1]), torch.ones(columns.shape[1])
    means, variances = torch.ops.aten.batch_norm_update_stats(columns, zeros, ones, 0.0)
    means, variances = means.view(-1, channels), variances.view(-1, channels)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)
