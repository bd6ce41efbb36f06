"""Barlow Twins: make the cross-correlation matrix of two views' embeddings the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import cross_correlation_loss
from methods.registry import register_method
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("barlow")
class BarlowTwins(Method):
    """Barlow Twins (Zbontar, Jing, Misra, LeCun & Deny, ICML 2021, arXiv 2103.03230).

    Deviation: both views go through the network in one pass and share its BatchNorm statistics. The loss standardises
    each view by itself, as in the paper.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of Barlow Twins; defaults of the paper's ImageNet experiments.

        Attributes:
            redundancy: λ, weight of the entries off the diagonal; default of the released code.
            scale: factor of the whole loss.
            hidden: width of the projector's hidden layers.
            output: size of the embedding.
        """

        redundancy: Annotated[float, AtLeast(0)] = 0.0051
        scale: Annotated[float, Above(0)] = 1.0
        hidden: Annotated[int, AtLeast(1)] = 8192
        output: Annotated[int, AtLeast(1)] = 8192

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Invariance and redundancy terms of the two views' embeddings."""
        first, second = self.projector(self.backbone(batch.views)).chunk(2)
        loss = cross_correlation_loss(first, second, redundancy=self.options.redundancy)
        return {"loss": self.options.scale * loss}
