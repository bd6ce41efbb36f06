"""Normalisation of images without augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalise (n, side, 3, side) uint8 images to (n, 3, side, side) float32 in channels-last memory."""
    shift, scale = (torch.tensor(values, device=images.device) for values in (mean, std))
    pixels = images.permute(0, 1, 3, 2).contiguous().float()
    return pixels.mul_(1 / 255).sub_(shift).div_(scale).permute(0, 3, 1, 2)
