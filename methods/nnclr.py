"""NNCLR: contrast the nearest neighbour of one view, from a queue of embeddings, with the other view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import info_nce_in_batch
from methods.memory import Queue
from methods.registry import register_method
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("nnclr")
class NNCLR(Method):
    """NNCLR (Dwibedi et al., ICCV 2021, arXiv 2104.14548).

    As in the paper, the negatives of a neighbour are the predictions of the other view only. (lightly passes the pair
    to NT-Xent, where neighbours are also negatives of one another.)

    Deviations: the queue has the length of solo-learn's and lightly's; both views go through the network in one pass
    and share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of NNCLR; defaults of the paper's ImageNet experiments, but for the queue.

        Attributes:
            temperature: of the softmax over cosine similarities.
            queue: number of earlier first-view projections to find neighbours among.
            hidden: width of the projector's hidden layers.
            output: size of the projection.
            bottleneck: width of the predictor's hidden layer.
        """

        temperature: Annotated[float, Above(0)] = 0.1
        queue: Annotated[int, AtLeast(1)] = 65_536
        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 256
        bottleneck: Annotated[int, AtLeast(1)] = 4096

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = nn.Sequential(
            mlp(backbone.dim, options.hidden, options.hidden, options.output), nn.BatchNorm1d(options.output)
        )
        self.predictor = mlp(options.output, options.bottleneck, options.output)
        self.queue = Queue(options.queue, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean over both directions of InfoNCE between a view's neighbours and the other view's predictions."""
        z = self.projector(self.backbone(batch.views))
        self._projections = z.detach()
        neighbours = self.queue.nearest(self._projections).chunk(2)
        losses = [
            info_nce_in_batch(neighbour, prediction, temperature=self.options.temperature)
            for neighbour, prediction in zip(neighbours, reversed(self.predictor(z).chunk(2)), strict=True)
        ]
        return {"loss": (losses[0] + losses[1]) / 2.0}

    def after_step(self, progress: float) -> None:  # noqa: ARG002
        """Push the first view's projections to the queue."""
        self.queue.push(self._projections.chunk(2)[0])
