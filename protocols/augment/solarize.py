"""Solarisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def solarize(views: Tensor) -> Tensor:
    """Invert values of at least one half."""
    return torch.where(views >= 0.5, 1.0 - views, views)
