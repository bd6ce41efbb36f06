"""Colour operations on a batch of views, one factor a view; numerically those of torchvision.

All take planes (3, m, pixels) in [0, 1], red, green and blue apart so that every step runs over contiguous memory, and
work in place. Selections are written as arithmetic, which a CPU does many times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
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
    planes.mul_(factor).add_(mean * (1 - factor)).clamp_(0.0, 1.0)


def saturation(planes: Tensor, factor: Tensor) -> None:
    """Blend with the grey view."""
    torch.lerp(luminance(planes), planes, factor, out=planes).clamp_(0.0, 1.0)


def hue(planes: Tensor, shift: Tensor) -> None:
    """Turn the hue by a fraction (m, 1) of the circle, at equal value and saturation.

    With r, g, b scaled so that the largest is 1 and the smallest 0, the hue in sixths of the circle is 1 + g + b - r
    where g ≥ b and 6 minus that elsewhere: 3 minus a number with the sign of g - b. What a channel lacks of the largest
    is a trapezoid of the hue.
    """
    red, green, blue = planes
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    from_middle = low.add_(red).sub_(green).sub_(blue).div_(chroma.clamp(min=1e-8)).add_(2.0).copysign_(green - blue)
    sixths = torch.add(shift + 1.5, from_middle, alpha=-1 / 6).frac_().mul_(6.0)
    for plane, middle in zip(planes, (3.0, 2.0, 4.0), strict=True):
        torch.sub(sixths, middle, out=plane).abs_()
    red.neg_().add_(2.0).clamp_(0.0, 1.0)
    planes[1:].sub_(1.0).clamp_(0.0, 1.0)
    torch.addcmul(high, chroma, planes, value=-1, out=planes)


OPERATIONS = (brightness, contrast, saturation, hue)
"""In the order in which ``draw.ORDERS`` numbers them."""


def jitter(planes: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Apply the operations to every view in an order of its own.

    For each turn the views are brought together by what is to be done with them.

    Args:
        planes: (3, n, pixels); spoilt.
        order: (n, 4) what is done first, second, …, by its place in ``OPERATIONS``, or -1; on the CPU.
        factors: (4, n) of each operation, on the CPU.

    Returns:
        (3, n, pixels).
    """
    at_rest = lying = np.arange(len(order))
    for turn in order.numpy().T:
        together = turn.argsort(kind="stable")
        planes, lying = rearranged(planes, lying, together), together
        ends = np.searchsorted(turn[lying], range(len(OPERATIONS) + 1))
        for operation, of_views, start, end in zip(OPERATIONS, factors.numpy(), ends, ends[1:], strict=False):
            if start < end:
                factor = torch.from_numpy(of_views[lying[start:end], None])
                operation(planes[:, start:end], factor.to(planes.device, non_blocking=True))
    return rearranged(planes, lying, at_rest)


def rearranged(planes: Tensor, lying: NDArray[np.int64], wanted: NDArray[np.int64]) -> Tensor:
    """Planes (3, n, pixels) with the views in another order; both orders are (n,)."""
    if np.array_equal(lying, wanted):
        return planes
    count = len(lying)
    places = np.empty_like(lying)
    places[lying] = np.arange(count)
    rows = torch.from_numpy(np.concatenate([places[wanted] + channel * count for channel in range(3)]))
    return planes.view(3 * count, -1).index_select(0, rows.to(planes.device, non_blocking=True)).view_as(planes)


def grayscale(planes: Tensor) -> None:
    """Give every channel the grey value."""
    planes.copy_(luminance(planes).expand_as(planes))


def solarize(planes: Tensor) -> None:
    """Invert what is not darker than one half."""
    planes.copy_(torch.where(planes >= 0.5, 1.0 - planes, planes))
