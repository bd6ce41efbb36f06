"""Builds a run's backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from protocols.spec.plugins import BACKBONES
from protocols.system import randomness

if TYPE_CHECKING:
    from methods.base import Backbone
    from protocols.spec.run import Run

M = TypeVar("M", bound=nn.Module)


def new_backbone(run: Run, side: int) -> Backbone:
    """The backbone with its initial weights, which depend only on its name, the seed, and ``side`` if it takes that.

    Args:
        run: whose backbone it is.
        side: height and width of the data set's images, in pixels.
    """
    name = run.backbone.name
    build = BACKBONES.get(name)
    torch.manual_seed(randomness.key(run.seed, "backbone"))
    return build(name, side) if BACKBONES.describe(name).declared["takes_side"] else build(name)


def to_device(module: M, device: torch.device) -> M:
    """Move a module to a device, its convolutions in channels-last memory."""
    module.to(device).to(memory_format=torch.channels_last)
    return module
