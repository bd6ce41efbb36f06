"""BatchNorm for very few channels on a CPU.

PyTorch's kernel for channels-last memory is vectorised over channels. With 8 of them it runs at a tenth of its speed,
and takes half the time of a small backbone. Here neighbouring pixels of an image are seen as further channels, of which
the kernel's statistics are then pooled. What comes out is BatchNorm, to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm

LANES = 16
"""Channels from which on PyTorch's own kernel is as fast as it gets."""

WIDTH = 64
"""Channels and neighbouring pixels seen as channels."""


class BatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d``, faster where few channels are trained on a CPU in channels-last memory.

    Attributes:
        plain: leave it to torch always; the slow way, to compare with.
    """

    plain = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(n, channels, height, width) to the same."""
        if self.plain or not self.training or torch.compiler.is_compiling() or not is_narrow(input):
            return super().forward(input)
        wide, mean, variance = NarrowNorm.apply(widened(input), self.weight, self.bias, self.eps)
        follow(self, mean, variance, input.numel() // input.shape[1])
        return narrowed(wide, input)


@torch.no_grad()
def follow(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int | Tensor) -> None:
    """Move the running statistics of a layer, if it has any, as torch does: the variance with count - 1."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, weight)
    norm.running_var.lerp_(variance * (count / (count - 1)), weight)


def is_narrow(x: Tensor) -> bool:
    """Whether the kernel would be slow, and pixels can stand in for channels."""
    channels = x.shape[1]
    fits = WIDTH % channels == 0 and x.numel() % WIDTH == 0
    return x.device.type == "cpu" and channels < LANES and fits and x.is_contiguous(memory_format=torch.channels_last)


class NarrowNorm(torch.autograd.Function):
    """Training-mode BatchNorm of a widened input, whose columns are some pixels' channels one after the other."""

    @staticmethod
    def forward(ctx: Any, wide: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised input, and the mean and the variance of each channel."""
        channels = len(weight)
        means, variances = column_statistics(wide)
        mean = means.view(-1, channels).mean(0)
        variance = (variances + (means - repeated(mean)).square()).view(-1, channels).mean(0)
        rstd = (variance + eps).rsqrt()
        ctx.save_for_backward(wide, weight, means, mean, rstd)
        ctx.mark_non_differentiable(mean, variance)
        scale = weight * rstd
        return affine(wide, scale, bias - mean * scale), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for the input, weight and bias."""
        wide, weight, means, mean, rstd = ctx.saved_tensors
        channels = len(weight)
        count = wide.numel() // channels
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            grad, wide, torch.ones(WIDTH), None, None, means, torch.ones(WIDTH), True, 0.0, [False, True, True]
        )
        centred = products + (means - repeated(mean)) * sums
        grad_bias = sums.view(-1, channels).sum(0)
        grad_weight = rstd * centred.view(-1, channels).sum(0)
        scale = weight * rstd
        slope = -scale * rstd * grad_weight / count
        grad_wide = affine(wide, slope, -scale * grad_bias / count - slope * mean)
        grad_wide += affine(grad, scale, torch.zeros_like(scale))
        return grad_wide, grad_weight, grad_bias, None


def column_statistics(wide: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (``WIDTH``,) of the columns; in float32, since the running ones to follow are."""
    mean, variance = torch.ops.aten.batch_norm_update_stats(wide, torch.zeros(WIDTH), torch.ones(WIDTH), 0.0)
    return mean, variance


def affine(wide: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale · wide + shift by channel, computed in float32 whatever the precision of ``wide``."""
    zero, one = torch.zeros(WIDTH), torch.ones(WIDTH)
    return F.batch_norm(wide, zero, one, repeated(scale), repeated(shift), training=False, eps=0.0)


def widened(x: Tensor) -> Tensor:
    """Channels-last (n, channels, height, width) as (rows, ``WIDTH``), without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, WIDTH)


def narrowed(wide: Tensor, like: Tensor) -> Tensor:
    """The way back: (rows, ``WIDTH``) in the shape of ``like``."""
    n, channels, height, width = like.shape
    return wide.view(n, height, width, channels).permute(0, 3, 1, 2)


def repeated(values: Tensor) -> Tensor:
    """(channels,) as (``WIDTH``,)."""
    return values.repeat(WIDTH // len(values))
