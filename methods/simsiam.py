"""SimSiam: predict the other view's projection, with a stop-gradient and no momentum network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import negative_cosine
from methods.registry import register_method
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("simsiam")
class SimSiam(Method):
    """SimSiam (Chen & He, CVPR 2021, arXiv 2011.10566).

    Deviations: both views go through the network in one pass, so that they share BatchNorm statistics; the predictor's
    learning rate follows the schedule, where the released code keeps it constant.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of SimSiam; defaults of the paper's ImageNet experiments.

        Attributes:
            hidden: width of the projector's hidden layers.
            output: size of the projection.
            bottleneck: width of the predictor's hidden layer.
        """

        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 2048
        bottleneck: Annotated[int, AtLeast(1)] = 512

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = nn.Sequential(
            mlp(backbone.dim, options.hidden, options.hidden, options.output),
            nn.BatchNorm1d(options.output, affine=False),
        )
        self.predictor = mlp(options.output, options.bottleneck, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean over both directions of -cos between prediction and the other view's projection; in [-1, 1]."""
        z = self.projector(self.backbone(batch.views))
        z_of_other_view = z.roll(len(batch.index), dims=0)
        return {"loss": negative_cosine(self.predictor(z), z_of_other_view) / 2.0 - 1.0}
