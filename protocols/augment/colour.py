"""Colour operations on a batch of views, one factor a view; numerically those of torchvision.

All take planes (3, m, pixels) in [0, 1], red, green and blue apart so that every step runs over contiguous memory, and
work in place. Selections are written as arithmetic, which a CPU does many times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def luminance(planes: Tensor) -> Tensor:
    """Grey value (m, pixels) by ITU-R 601, as in torchvision."""
    red, green, blue = planes
    grey: Tensor = red * 0.2989
    return grey.add_(green, alpha=0.587).add_(blue, alpha=0.114)


def brightness(planes: Tensor, factor: Tensor) -> None:
    """Multiply by the factor (m, 1)."""
    planes.mul_(factor).clamp_(max=1.0)


def contrast(planes: Tensor, factor: Tensor) -> None:
    """Blend with the mean grey value of the view."""
    mean = luminance(planes).mean(1, keepdim=True)
    planes.sub_(mean).mul_(factor).add_(mean).clamp_(0.0, 1.0)


def saturation(planes: Tensor, factor: Tensor) -> None:
    """Blend with the grey view."""
    grey = luminance(planes)
    planes.sub_(grey).mul_(factor).add_(grey).clamp_(0.0, 1.0)


def hue(planes: Tensor, shift: Tensor) -> None:
    """Turn the hue by a fraction (m, 1) of the circle, at equal value and saturation.

    With r, g, b scaled so that the largest is 1 and the smallest 0, the hue in sixths of the circle is 1 + g + b - r
    where g ≥ b and 6 minus that elsewhere, and each channel is a trapezoid of the hue.
    """
    red, green, blue = planes
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    sixths = (green + blue).sub_(red).sub_(low).div_(chroma.clamp(min=1e-8))
    sixths.neg_().add_(2.0).copysign_(green - blue).neg_().add_(3.0)
    turns = sixths.mul_(1 / 6).add_(shift)
    sixths = turns.sub_(turns.floor()).mul_(6.0)
    torch.sub(sixths, 3.0, out=red).abs_().sub_(1.0)
    torch.sub(sixths, 2.0, out=green).abs_().neg_().add_(2.0)
    torch.sub(sixths, 4.0, out=blue).abs_().neg_().add_(2.0)
    planes.clamp_(0.0, 1.0).sub_(1.0).mul_(chroma).add_(high)


OPERATIONS = (brightness, contrast, saturation, hue)
"""In the order in which ``draw.ORDERS`` numbers them."""


def grayscale(planes: Tensor) -> None:
    """Give every channel the grey value."""
    planes.copy_(luminance(planes).expand_as(planes))


def solarize(planes: Tensor) -> None:
    """Invert what is not darker than one half."""
    planes.copy_(torch.where(planes >= 0.5, 1.0 - planes, planes))
