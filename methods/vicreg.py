"""VICReg: invariant to the view, with every dimension of high variance and dimensions uncorrelated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import variance_invariance_covariance
from methods.registry import register_method
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("vicreg")
class VICReg(Method):
    """VICReg (Bardes, Ponce & LeCun, ICLR 2022, arXiv 2105.04906).

    The variance term is the mean over both views, as in the released code. In the paper's equation 6 and in solo-learn
    it is their sum, so that the same ``variance`` weighs twice as much.

    Deviation: both views go through the network in one pass and share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of VICReg; defaults of the paper's ImageNet experiments.

        Attributes:
            invariance: λ, weight of the mean squared distance between the views.
            variance: μ, weight of the hinge on standard deviations.
            covariance: ν, weight of the squared covariances.
            hidden: width of the expander's hidden layers.
            output: size of the embedding.
        """

        invariance: Annotated[float, AtLeast(0)] = 25.0
        variance: Annotated[float, AtLeast(0)] = 25.0
        covariance: Annotated[float, AtLeast(0)] = 1.0
        hidden: Annotated[int, AtLeast(1)] = 8192
        output: Annotated[int, AtLeast(1)] = 8192

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.expander = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted sum of the three terms for the two views' embeddings."""
        first, second = self.expander(self.backbone(batch.views)).chunk(2)
        options = self.options
        loss = variance_invariance_covariance(
            first, second, invariance=options.invariance, variance=options.variance, covariance=options.covariance
        )
        return {"loss": loss}
