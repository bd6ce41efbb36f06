"""BYOL: predict a momentum network's projection of the other view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import negative_cosine
from methods.registry import register_method
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("byol")
class BYOL(Method):
    """BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733).

    Deviation: both views go through each network in one pass, so that they share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of BYOL; defaults of the paper's ImageNet experiments.

        Attributes:
            hidden: width of the hidden layer of projector and predictor.
            output: size of the projection.
            momentum: of the target network's moving average at the start; rises to 1 along a cosine.
        """

        hidden: Annotated[int, AtLeast(1)] = 4096
        output: Annotated[int, AtLeast(1)] = 256
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        projector = mlp(backbone.dim, options.hidden, options.output)
        self.online = nn.Sequential(backbone, projector)
        self.predictor = mlp(options.output, options.hidden, options.output)
        self.target = EMA(self.online)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sum over both directions of 2 - 2 cos between a view's prediction and the other's target projection."""
        predictions = self.predictor(self.online(batch.views))
        targets_of_other_view = self.target(batch.views).roll(len(batch.index), dims=0)
        return {"loss": 2.0 * negative_cosine(predictions, targets_of_other_view)}

    def after_step(self, progress: float) -> None:
        """Update the target network."""
        self.target.update(self.online, cosine_schedule(self.options.momentum, 1.0, progress))
