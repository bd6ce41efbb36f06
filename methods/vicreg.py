"""VICReg: bring the views together, keep every dimension varied, and dimensions uncorrelated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import variance_invariance_covariance
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


@register_method("vicreg")
class VICReg(Method):
    """VICReg (Bardes, Ponce & LeCun, ICLR 2022, arXiv 2105.04906).

    The variance term is the mean of both views', as in the released code, and not their sum, as in the paper's equation
    6 (and solo-learn): there ``variance`` counts twice. Deviation: the views share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            invariance: λ, weight of the distance between views.
            variance: μ, weight of the hinge on standard deviations.
            covariance: ν, weight of the covariances.
            hidden: width of the expander's hidden layers.
            output: width of the embedding.
        """

        invariance: float = 25.0
        variance: float = 25.0
        covariance: float = 1.0
        hidden: int = 8192
        output: int = 8192

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.expander = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The three terms of the two views' embeddings."""
        first, second = self.expander(self.backbone(batch.views)).chunk(2)
        options = self.options
        loss = variance_invariance_covariance(
            first, second, invariance=options.invariance, variance=options.variance, covariance=options.covariance
        )
        return {"loss": loss}
