"""Exponential moving average of a network, the target of bootstrap methods."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn


class EMA(nn.Module):
    """An exponential moving average of a module's parameters; receives no gradient.

    Only parameters are averaged. In training mode the copy's BatchNorm layers normalise by the statistics of its own
    batches and update their own running statistics, as those of the online network do.

    Args:
        online: the module to average; the copy starts equal to it.

    Attributes:
        module: the averaged copy.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(online).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """The output of the averaged copy, without gradient."""
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float) -> None:
        """Set the parameters to ``momentum`` · average + (1 - ``momentum``) · online.

        Args:
            online: the module that is averaged, after its optimizer step.
            momentum: in [0, 1].
        """
        torch._foreach_lerp_(list(self.module.parameters()), list(online.parameters()), 1.0 - momentum)


def cosine_schedule(start: float, end: float, progress: float) -> float:
    """A value that moves from ``start`` to ``end`` along half a cosine (BYOL, section 3.2).

    Args:
        start: value at ``progress`` 0.
        end: value at ``progress`` 1.
        progress: fraction of the pretraining that is done, in [0, 1].
    """
    return end - (end - start) * (math.cos(math.pi * progress) + 1.0) / 2.0
