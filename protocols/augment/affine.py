"""The finetuning augmentation of Patacchiola & Storkey (2020): flip, affine transform, erased square; in batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from protocols.augment.normalise import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

COLUMNS = 10
"""Uniform random numbers per image."""

ROTATION, SHEAR = math.radians(18), math.radians(10)
SCALE = 0.1
SHIFT = 0.1
"""Largest shift, as a fraction of the side."""


def affine(
    images: Tensor, u: NDArray[np.float32], mean: tuple[float, ...], std: tuple[float, ...], *, erase: float
) -> Tensor:
    """Augment images with the distribution of the authors' code; operations are defined as in torchvision.

    Flipped with probability 0.5; with probability 0.5 rotated by up to 18°, scaled by 0.9 to 1.1, shifted by up to a
    tenth and sheared by up to 10°, with a black border; normalised; with probability 0.5 a square is set to 0.

    Args:
        images: (n, side, 3, side) uint8.
        u: (n, ``COLUMNS``) uniform random numbers in [0, 1).
        mean: of each channel in [0, 1].
        std: of each channel.
        erase: area of the square, as a fraction of the image.

    Returns:
        (n, 3, side, side) float32, normalised.
    """
    side = images.shape[1]
    uniforms = torch.from_numpy(u).to(images.device)
    pixels = normalise(images, (0.0,) * 3, (1.0,) * 3)
    grid = F.affine_grid(affine_matrices(uniforms, side), list(pixels.shape), align_corners=False)
    transformed = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return ((transformed - shift) / scale).masked_fill(erased_squares(uniforms, side, erase)[:, None], 0.0)


def affine_matrices(u: Tensor, side: int) -> Tensor:
    """Matrices (n, 2, 3) from output to input positions, in the coordinates of ``affine_grid``.

    Args:
        u: (n, ``COLUMNS``), of which the first seven columns are used.
        side: in pixels; shifts are by whole pixels.
    """
    transformed = (u[:, 1] < 0.5).float()
    angle, shear = ROTATION * to_symmetric(u[:, 2]) * transformed, SHEAR * to_symmetric(u[:, 3]) * transformed
    scale = 1 + SCALE * to_symmetric(u[:, 4]) * transformed
    shift = (SHIFT * side * to_symmetric(u[:, 5:7])).round() * transformed[:, None]
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    forward = torch.stack([cos, -cos * tan - sin, sin, -sin * tan + cos], 1).view(-1, 2, 2) * scale[:, None, None]
    inverse = torch.linalg.inv(forward)
    maps = torch.cat([inverse, -inverse @ (shift * 2 / side)[:, :, None]], 2)
    maps[:, 0] *= 1 - 2 * (u[:, 0] < 0.5).float()[:, None]
    return maps


def erased_squares(u: Tensor, side: int, area: float) -> Tensor:
    """Mask (n, side, side) of the erased squares: one in half of the images, anywhere inside; by the last columns."""
    width = round(side * math.sqrt(area))
    first = (u[:, 8:10] * (side - width + 1)).long()
    pixels = torch.arange(side, device=u.device)
    within = (pixels >= first[:, :, None]) & (pixels < first[:, :, None] + width)
    return within[:, 0, :, None] & within[:, 1, None, :] & (u[:, 7] < 0.5)[:, None, None]


def to_symmetric(u: Tensor) -> Tensor:
    """Map [0, 1) to [-1, 1)."""
    return 2 * u - 1
