"""Crop, resize and flip as matrix products, with one matrix of weights per axis and view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.augment.parameters import ViewParameters
    from protocols.spec.protocol import Augmentation


def crop(images: Tensor, parameters: ViewParameters, augmentation: Augmentation, size: int) -> Tensor:
    """Crop images to the sampled boxes, resize to ``size`` and flip.

    Args:
        images: (n, side, 3, side) uint8.
        parameters: of n views.
        augmentation: with the interpolation filter.
        size: side of the views, in pixels.

    Returns:
        (n, size, 3, size) float32 in [0, 1], or a little outside of it after bicubic resampling.
    """
    n, side = images.shape[:2]
    device = images.device
    no_flip = torch.zeros_like(parameters.flip)
    rows, columns = (
        axis_weights(
            start.to(device), length.to(device), flip.to(device), augmentation=augmentation, side=side, size=size
        )
        for start, length, flip in (
            (parameters.top, parameters.height, no_flip),
            (parameters.left, parameters.width, parameters.flip),
        )
    )
    half = torch.bmm(rows.mul_(1 / 255), images.view(n, side, 3 * side).float()).view(n, size * 3, side)
    views = torch.empty(n, size, 3, size, device=device)
    torch.bmm(half, columns.transpose(1, 2), out=views.view(n, size * 3, size))
    return views


def axis_weights(
    start: Tensor, length: Tensor, flip: Tensor, *, augmentation: Augmentation, side: int, size: int
) -> Tensor:
    """Weights of every input pixel in every output pixel along one axis.

    Follows torchvision's ``resize`` of the box [start, start + length): with antialias the filter is scaled by the
    reduction factor and cut off at the box; without, the border pixel is repeated.

    Args:
        start: (n,) first pixel of the box; outside of the image there are zeros.
        length: (n,) of the box.
        flip: (n,) bool; whether the output is reversed.
        augmentation: with the interpolation filter.
        side: number of input pixels.
        size: number of output pixels.

    Returns:
        (n, size, side) float32.
    """
    output = torch.arange(size, device=start.device)
    output = torch.where(flip[:, None], size - 1 - output, output)
    centre = (output + 0.5) * (length / size)[:, None] - 0.5
    bilinear = augmentation.interpolation == "bilinear"
    if not filter_widens(augmentation, side, size):
        if not bilinear:
            return cubic_weights_with_border(centre, start, length, side)
        centre = torch.minimum(centre.clamp_(min=0), (length - 1)[:, None])
        return triangle_filter(distances(centre + start[:, None], side))
    stretch = (length / size).clamp(min=1.0)[:, None, None]
    distance = distances(centre + start[:, None], side) / stretch
    weights = triangle_filter(distance) if bilinear else cubic(distance, -0.5)
    weights = weights * inside_box(start, length, side)
    return weights / weights.sum(2, keepdim=True)


def filter_widens(augmentation: Augmentation, side: int, size: int) -> bool:
    """Whether the filter is scaled by the reduction factor and cut off at the box, instead of repeating the border."""
    return augmentation.antialias and not (augmentation.interpolation == "bilinear" and size >= side)


def count_taps(augmentation: Augmentation, side: int, size: int) -> int:
    """Input pixels along one axis that a pixel of a view may depend on."""
    radius = 1 if augmentation.interpolation == "bilinear" else 2
    if not filter_widens(augmentation, side, size):
        return 2 * radius
    return math.ceil(2 * radius * max(side / size, 1.0)) + 1


def distances(centre: Tensor, side: int) -> Tensor:
    """Distance (n, size, side) of every pixel from every centre (n, size)."""
    return (centre[:, :, None] - torch.arange(side, device=centre.device)).abs_()


def inside_box(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Mask (n, 1, side) of the pixels in the box."""
    pixel = torch.arange(side, device=start.device)
    return ((pixel >= start[:, None]) & (pixel < (start + length)[:, None]))[:, None]


def triangle_filter(distance: Tensor) -> Tensor:
    """The bilinear filter, in place: max(0, 1 - x) of distances x ≥ 0."""
    return distance.neg_().add_(1.0).clamp_(min=0.0)


def cubic(x: Tensor, a: float) -> Tensor:
    """The bicubic filter of Keys (1981) with parameter ``a``, of distances x ≥ 0."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def cubic_weights_with_border(centre: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Weights (n, size, side) of bicubic resampling that repeats the border pixel; a = -0.75 as in torch."""
    first = centre.floor()
    weights = centre.new_zeros(*centre.shape, side)
    for tap in range(-1, 3):
        pixel = torch.minimum((first + tap).clamp(min=0), (length - 1)[:, None]) + start[:, None]
        weight = cubic((centre - first - tap).abs(), -0.75)
        weights.scatter_add_(2, pixel.long()[..., None], weight[..., None])
    return weights
