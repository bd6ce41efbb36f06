"""Views on a GPU by kernels: one for an augmentation without blur, three for one with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from protocols.augment.crop import count_taps, filter_widens
from protocols.augment.gaussian_blur import blur_radius
from protocols.augment.gpu_kernels import blur_along_axis, crop_and_colour

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.augment.parameters import ViewParameters
    from protocols.spec.protocol import Augmentation

BLOCK = 1024
"""Pixels that a program works on at a time."""


def make_views(
    images: Tensor,
    index: Tensor,
    parameters: ViewParameters,
    augmentation: Augmentation,
    *,
    out: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    """Make views of one augmentation, without its registered operations.

    Args:
        images: (m, side, 3, side) uint8.
        index: (n,) int64 indices of the images.
        parameters: of n views.
        augmentation: the distribution that they come from.
        out: (n, size, size, 3), contiguous, float32 or half precision; receives the views.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
    """
    (n, size), side = out.shape[:2], images.shape[1]
    constants = [value for pair in zip(mean, std, strict=True) for value in pair]
    launch(
        crop_and_colour,
        n,
        images,
        index,
        *(parameters.top, parameters.left, parameters.height, parameters.width, parameters.flip),
        *(parameters.operation.contiguous(), parameters.factor.contiguous()),
        *(parameters.grayscale, parameters.blur, parameters.solarize),
        out,
        *constants,
        n,
        side=side,
        size=size,
        taps=count_taps(augmentation, side, size),
        bicubic=augmentation.interpolation == "bicubic",
        wide=filter_widens(augmentation, side, size),
        jitter=augmentation.jitter > 0,
        contrast=augmentation.jitter > 0 and augmentation.contrast > 0,
        grey=augmentation.grayscale > 0,
        block=BLOCK,
    )
    if augmentation.blur:
        radius, half = blur_radius(size), torch.empty_like(out)
        for source, target, across in ((out, half, False), (half, out, True)):
            launch(
                blur_along_axis,
                n,
                source,
                target,
                parameters.blur,
                parameters.sigma,
                parameters.solarize,
                *constants,
                size=size,
                radius=radius,
                across=across,
                block=BLOCK,
            )


def launch(kernel: Any, programs: int, *arguments: object, **constants: object) -> None:
    """Queue a kernel on the GPU of its first argument."""
    assert isinstance(arguments[0], torch.Tensor)
    with torch.cuda.device(arguments[0].device):
        kernel[(programs,)](*arguments, **constants)
