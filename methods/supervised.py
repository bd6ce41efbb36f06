"""The upper baseline: the same backbone trained with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


@register_method("supervised")
class Supervised(Method):
    """Supervised: cross-entropy on the labels of the training split.

    One lightly augmented view per image and one linear layer, as in Patacchiola & Storkey (2020).

    Deviation: they score that linear layer; here the frozen backbone is evaluated as for every other method.
    """

    uses_labels = True
    baseline = "upper"

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.classifier = nn.Linear(backbone.dim, info.classes)

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on the labels, and training accuracy."""
        assert batch.labels is not None
        logits = self.classifier(self.backbone(batch.views)).float()
        accuracy = (logits.argmax(1) == batch.labels).float().mean()
        return {"loss": F.cross_entropy(logits, batch.labels), "accuracy": accuracy}
