"""The slowly moving copy of a network that bootstrap methods aim at."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn


class MomentumCopy(nn.Module):
    """An exponential moving average of a module's parameters; receives no gradient.

    Only parameters are averaged. Like the online network it normalises by the statistics of its own batches, and its
    running statistics are those.

    Args:
        online: the module to follow; the copy starts equal to it.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(online).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """The copy's output, without gradient."""
        return self.module(*inputs)

    @torch.no_grad()
    def follow(self, online: nn.Module, momentum: float) -> None:
        """Move to ``momentum`` · copy + (1 - ``momentum``) · online."""
        torch._foreach_lerp_(list(self.module.parameters()), list(online.parameters()), 1.0 - momentum)


def cosine_between(start: float, end: float, progress: float) -> float:
    """A momentum that moves from ``start`` to ``end`` along half a cosine (BYOL, section 3.2)."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1.0) / 2.0
