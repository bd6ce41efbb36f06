"""RotNet: predict by how many quarter turns an image was rotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor

TURNS = 4
"""Classes: rotations by 0, 1, 2 and 3 quarter turns."""


@register_method("rotnet")
class RotNet(Method):
    """RotNet (Gidaris, Singh & Komodakis, ICLR 2018, arXiv 1803.07728).

    As in Patacchiola & Storkey (2020), a light crop of every image is rotated by 0°, 90°, 180° and 270°, all four go
    through the backbone in one pass, and a linear layer classifies the rotation. Data whose images have no upright
    orientation cannot be learned from: on ``shapes`` the loss stays at log 4.
    """

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.classifier = nn.Linear(backbone.dim, TURNS)

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    @classmethod
    def views_per_image(cls, options: Any) -> int:  # noqa: ARG003
        """Four: the backbone sees every view in four rotations."""
        return TURNS

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the rotation, and its accuracy, over the four rotations of every view."""
        logits = self.classifier(self.backbone(rotations(batch.views))).float()
        turns = torch.arange(TURNS, device=logits.device).repeat_interleave(len(batch.views))
        accuracy = (logits.argmax(1) == turns).float().mean()
        return {"loss": F.cross_entropy(logits, turns), "rotation_accuracy": accuracy}


def rotations(images: Tensor) -> Tensor:
    """Images (n, 3, side, side) after 0, 1, 2 and 3 quarter turns, in this order: (4·n, 3, side, side)."""
    rotated = torch.cat([images.rot90(turns, (2, 3)) for turns in range(TURNS)])
    # rot90 loses the channels-last memory format, in which convolutions are fast.
    return rotated.contiguous(memory_format=torch.channels_last)
