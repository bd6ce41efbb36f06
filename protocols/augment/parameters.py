"""Random parameters of every view, with the distributions of torchvision's transforms."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from protocols.augment.colour_jitter import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.spec.protocol import Augmentation

TRIES = 10
"""Boxes that torchvision's RandomResizedCrop tries before it falls back to the whole image."""

COLUMNS = 2 * TRIES + 14
"""Uniform random numbers per view of the built-in operations."""

ORDERS = np.array(list(itertools.permutations(range(len(OPERATIONS)))))
"""All orders of the colour operations."""


@dataclass(frozen=True)
class ViewParameters:
    """The parameters of n views; on the CPU until they are copied.

    Attributes:
        top: (n,) first row of the crop box, in pixels; with padding it may lie outside of the image.
        left: (n,) first column of the crop box.
        height: (n,) of the crop box.
        width: (n,) of the crop box.
        flip: (n,) bool.
        operation: (4, n) the first, second, … colour operation, by its index in ``OPERATIONS``, or -1 for none.
        factor: (4, n) of that operation.
        grayscale: (n,) bool.
        blur: (n,) bool.
        sigma: (n,) of the blur, in pixels.
        solarize: (n,) bool.
        uniforms: (k, n) uniform random numbers of the registered operations.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    operation: Tensor
    factor: Tensor
    grayscale: Tensor
    blur: Tensor
    sigma: Tensor
    solarize: Tensor
    uniforms: Tensor

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the attributes."""
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def select(self, rows: slice) -> ViewParameters:
        """The parameters of some of the views."""
        return ViewParameters(*(value[..., rows] for value in self.tensors()))


def sample_parameters(augmentation: Augmentation, u: NDArray[np.float32], side: int) -> ViewParameters:
    """Compute the parameters of views from uniform random numbers.

    Args:
        augmentation: the distributions.
        u: (n, ``COLUMNS`` or more) in [0, 1); those above are the registered operations'.
        side: of the square images, in pixels.
    """
    crop_uniforms, rest = u[:, : 2 * TRIES], iter(u[:, 2 * TRIES : COLUMNS].T)
    height, width = crop_size(augmentation, crop_uniforms, side)
    top, left = (offset(augmentation, next(rest), size, side) for size in (height, width))
    flip, jitter, grayscale, blur, solarize = (
        next(rest) < getattr(augmentation, name) for name in ("flip", "jitter", "grayscale", "blur", "solarize")
    )
    order = ORDERS[(next(rest) * len(ORDERS)).astype(np.int64)]
    used = np.array([getattr(augmentation, name) > 0 for name in OPERATIONS])
    factors = np.stack([colour_factor(augmentation, name, next(rest)) for name in OPERATIONS], 1)
    low, high = augmentation.sigma
    columns = {
        "top": top,
        "left": left,
        "height": height,
        "width": width,
        "flip": flip,
        "operation": np.where(jitter & used[order].T, order.T, -1),
        "factor": np.take_along_axis(factors, order, 1).T,
        "grayscale": grayscale,
        "blur": blur,
        "sigma": low + (high - low) * next(rest),
        "solarize": solarize,
        "uniforms": u[:, COLUMNS:].T,
    }
    return ViewParameters(**{name: torch.from_numpy(value) for name, value in columns.items()})


def colour_factor(augmentation: Augmentation, name: str, u: NDArray[np.float32]) -> NDArray[np.float32]:
    """Factor in [max(0, 1 - s), 1 + s] of a colour operation of strength s, or a hue shift in [-s, s]."""
    strength = getattr(augmentation, name)
    centre, low = (0.0, -strength) if name == "hue" else (1.0, max(0.0, 1.0 - strength))
    factor: NDArray[np.float32] = (low + (centre + strength - low) * u).astype(np.float32)
    return factor


def crop_size(
    augmentation: Augmentation, u: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Height and width (n,) of the crop box: the first of ten candidates that fits, else the whole image."""
    whole = np.full(len(u), side, dtype=np.float32)
    if augmentation.crop is None:
        return whole, whole
    (small, large), (narrow, wide) = augmentation.crop, np.log(augmentation.ratio)
    area = side * side * (small + (large - small) * u[:, :TRIES].astype(np.float64))
    aspect = np.exp(narrow + (wide - narrow) * u[:, TRIES:].astype(np.float64))
    widths, heights = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (widths >= 1) & (widths <= side) & (heights >= 1) & (heights <= side)
    rows, first = np.arange(len(u)), fits.argmax(1)
    found = fits[rows, first]
    height, width = (np.where(found, size[rows, first], whole) for size in (heights, widths))
    return height.astype(np.float32), width.astype(np.float32)


def offset(
    augmentation: Augmentation, u: NDArray[np.float32], size: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """First row or column (n,) of a box of ``size``, anywhere in the image and the padding around it."""
    padding = round(augmentation.pad * side)
    offsets = side + 2 * padding - size + 1
    first: NDArray[np.float32] = np.floor(u * offsets) - padding
    return first
