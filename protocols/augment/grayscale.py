"""Grayscale views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def luminance(views: Tensor) -> Tensor:
    """Luminance (n, side, side) by ITU-R 601, as in torchvision."""
    red, green, blue = views.unbind(2)
    return red * 0.2989 + green * 0.587 + blue * 0.114


def grayscale(views: Tensor) -> Tensor:
    """Replace every channel by the luminance."""
    return luminance(views)[:, :, None].expand_as(views)
