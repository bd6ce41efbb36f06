"""Cutout: a square of zeros somewhere in the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch

from protocols.spec.plugins import register_augmentation
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_augmentation("cutout", uniforms=3)
def cutout(
    views: Tensor,
    u: Tensor,
    *,
    probability: Annotated[float, AtLeast(0), AtMost(1)] = 0.5,
    size: Annotated[float, AtLeast(0), AtMost(1)] = 0.25,
) -> Tensor:
    """Cutout (DeVries & Taylor 2017, arXiv 1708.04552): a black square that lies within the view.

    Args:
        views: (n, 3, side, side) in [0, 1].
        u: (n, 3) uniform random numbers in [0, 1), for the decision, the row and the column.
        probability: of a square in a view.
        size: side of the square, as a fraction of the side of the view.

    Returns:
        (n, 3, side, side).
    """
    side = views.shape[-1]
    width = round(size * side)
    first = (u[:, 1:] * (side - width + 1)).long()
    pixels = torch.arange(side, device=views.device)
    within = (pixels >= first[:, :, None]) & (pixels < first[:, :, None] + width)
    square = within[:, 0, :, None] & within[:, 1, None, :] & (u[:, 0] < probability)[:, None, None]
    return views.masked_fill(square[:, None], 0.0)
