"""Views of a device against those of the reference operations on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional as F

from protocols.augment.augmenter import Augmenter
from protocols.system import randomness

if TYPE_CHECKING:
    from protocols.spec.run import Run

IMAGES, SIDE = 512, 32
TOLERANCE = 1e-4
"""Largest difference of a value in [0, 1]."""

LARGEST_FRACTION = 1e-4
"""Of values that may differ more: solarization jumps where a value is a half, to rounding."""


def check_views(run: Run, device: torch.device) -> tuple[Literal["ok", "wrong", "slow"], str]:
    """Views of every augmentation of a run's protocol, from the same images and parameters."""
    images = coloured_images(IMAGES, SIDE)
    differing, worst, by_operations = 0.0, 0.0, False
    for name, augmentation in run.augmentations.items():
        there, reference = (
            Augmenter(augmentation, (0.0,) * 3, (1.0,) * 3, reference=reference) for reference in (False, True)
        )
        u = randomness.uniforms(randomness.key(0, "views", name), np.arange(IMAGES), reference.columns)
        made = there(images.to(device), torch.arange(IMAGES), u).cpu()
        by_operations |= there.by_kernels is False
        difference = (made - reference(images, torch.arange(IMAGES), u)).abs()
        difference = torch.where(difference.isfinite(), difference, torch.inf)
        differing = max(differing, float((difference > TOLERANCE).double().mean()))
        worst = max(worst, float(difference.max()))
    figure = (
        f"{len(run.augmentations)} augmentations: largest difference {worst:.0e}, {differing:.0e} of values above "
        f"{TOLERANCE:.0e}"
    )
    if differing > LARGEST_FRACTION:
        return "wrong", figure
    return ("slow", f"{figure}; Triton's kernels fail, see the log") if by_operations else ("ok", figure)


def coloured_images(images: int, side: int) -> torch.Tensor:
    """Smooth random colours with noise, (images, side, 3, side) uint8."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, 3, 5, 5, generator=generator)
    fine = F.interpolate(coarse, size=(side, side), mode="bilinear")
    noisy = (fine + 0.1 * torch.rand(images, 3, side, side, generator=generator)).clamp(0, 1)
    return (noisy * 255).byte().permute(0, 2, 1, 3).contiguous()
