"""Barlow Twins: make the views' cross-correlation the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import cross_correlation
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


@register_method("barlow")
class BarlowTwins(Method):
    """Barlow Twins (Zbontar, Jing, Misra, LeCun & Deny, ICML 2021, arXiv 2103.03230).

    Deviation: both views go through the network in one pass, so that they share its BatchNorm statistics; the loss
    standardises each on its own, as it should.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            redundancy: λ, weight of the entries off the diagonal; the released code's.
            scale: factor of the whole loss.
            hidden: width of the projector's hidden layers.
            output: width of the embedding.
        """

        redundancy: float = 0.0051
        scale: float = 1.0
        hidden: int = 8192
        output: int = 8192

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Invariance and redundancy of the two views' embeddings."""
        first, second = self.projector(self.backbone(batch.views)).chunk(2)
        return {"loss": self.options.scale * cross_correlation(first, second, redundancy=self.options.redundancy)}
