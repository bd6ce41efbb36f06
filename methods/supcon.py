"""SupCon: contrast images of one class with those of the others, the upper baseline of contrastive methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("supcon")
class SupCon(Method):
    """Supervised contrastive learning (Khosla et al., NeurIPS 2020, arXiv 2004.11362).

    It sees labels and frames a table from above: between it and SimCLR stand labels alone, if both have the same head,
    temperature and views.

    Deviation: both views go through the backbone in one pass, on every device with statistics of the whole batch.
    """

    uses_labels = True
    baseline = "upper"

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of SupCon; defaults of the released code for CIFAR.

        Attributes:
            temperature: of the softmax over cosine similarities.
            base_temperature: the loss is multiplied by ``temperature`` / ``base_temperature``.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
            norm: whether the projector has BatchNorm.
        """

        temperature: Annotated[float, Above(0)] = 0.1
        base_temperature: Annotated[float, Above(0)] = 0.07
        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 128
        norm: bool = False

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.output, norm=options.norm)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over the 2b embeddings of the batch."""
        assert batch.labels is not None
        z, options = self.projector(self.backbone(batch.views)), self.options
        loss = supervised_contrastive(z, batch.labels.repeat(2), temperature=options.temperature)
        return {"loss": options.temperature / options.base_temperature * loss}


@full_precision
def supervised_contrastive(z: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy towards all other embeddings of an embedding's class (equation 2, with the sum outside).

    For every embedding, p is a softmax over all others; its loss is the mean of -log p over those of its class.

    Args:
        z: (n, d) embeddings; need not be normalised.
        labels: (n,) classes; every class has two embeddings or more.
        temperature: divides the cosine similarities; > 0.

    Returns:
        A scalar, the mean over embeddings.
    """
    z = F.normalize(z)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = (z @ z.T / temperature).masked_fill(itself, float("-inf")).log_softmax(1).masked_fill(itself, 0.0)
    positive = ((labels[:, None] == labels) & ~itself).float()
    return -((positive * log_p).sum(1) / positive.sum(1)).mean()
