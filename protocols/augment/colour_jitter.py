"""Colour jitter of a batch of views with a separate operation per view, numerically equal to torchvision's.

Views are (n, side, 3, side) in [0, 1]: a row of pixels of one channel is contiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.augment.grayscale import luminance
from protocols.system.compiled import compiled

if TYPE_CHECKING:
    from torch import Tensor

OPERATIONS = ("brightness", "contrast", "saturation", "hue")
"""Operations are encoded by their index here."""

CONTRAST, SATURATION, HUE = range(1, len(OPERATIONS))


def jitter(views: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """Apply one operation to each view.

    All four are computed and one is selected: compiled on a CPU, that is one loop over memory, while grouping the views
    by operation would take several.

    Args:
        views: (n, side, 3, side).
        operation: (n,) index in ``OPERATIONS``, or -1 for none.
        factor: (n,) to multiply with, to blend with, or to shift the hue by, as a fraction of the circle.

    Returns:
        (n, side, 3, side).
    """
    operation, factor = operation[:, None, None], factor[:, None, None]
    grey = luminance(views)
    target = torch.where(operation == SATURATION, grey, 0.0)
    target = torch.where(operation == CONTRAST, grey.mean((1, 2), keepdim=True), target)
    channels = []
    for channel, shifted in zip(views.unbind(2), hue(views, factor), strict=True):
        blended = (target + (channel - target) * factor).clamp(0.0, 1.0)
        changed = torch.where(operation == HUE, shifted, blended)
        channels.append(torch.where(operation >= 0, changed, channel))
    return torch.stack(channels, 2)


compiled_jitter = compiled(jitter)


def hue(views: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Red, green and blue after a hue shift by a fraction (n, 1, 1) of the circle, at equal value and saturation.

    With r, g, b scaled so that the largest is 1 and the smallest 0, the hue in sixths of the circle is 1 + g + b - r
    where g ≥ b and 6 minus that elsewhere: 3 minus a number with the sign of g - b. The deficit of a channel
    from the largest is a trapezoid of the hue.
    """
    red, green, blue = views.unbind(2)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    from_middle = (low + red - green - blue) / chroma.clamp(min=1e-8) + 2.0
    shifted = shift + 1.5 - torch.where(green >= blue, from_middle, -from_middle) / 6.0
    sixths = (shifted - shifted.floor()) * 6.0
    deficits = 2.0 - (sixths - 3.0).abs(), (sixths - 2.0).abs() - 1.0, (sixths - 4.0).abs() - 1.0
    red, green, blue = (high - chroma * deficit.clamp(0.0, 1.0) for deficit in deficits)
    return red, green, blue
