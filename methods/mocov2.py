"""MoCo v2: contrast a query with the key of the other view and a queue of earlier keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import info_nce_with_queue
from methods.memory import Queue
from methods.registry import register_method
from methods.state_names import load_old_names
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("mocov2")
class MoCoV2(Method):
    """MoCo v2 (Chen, Fan, Girshick & He 2020, arXiv 2003.04297; He et al., CVPR 2020, arXiv 1911.05722).

    Deviation: no shuffling BatchNorm, since statistics are those of the whole batch.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of MoCo v2; defaults of the paper's ImageNet experiments.

        Attributes:
            temperature: of the softmax over cosine similarities.
            queue: number of keys of earlier batches that serve as negatives.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
            momentum: of the key encoder's moving average at the start.
            final_momentum: at the end; reached along a cosine.
            symmetric: whether the second view also queries the first view's key, and the queue takes the keys of both,
                as in the authors' notebook for CIFAR-10.
        """

        temperature: Annotated[float, Above(0)] = 0.2
        queue: Annotated[int, AtLeast(1)] = 65_536
        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 128
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.999
        final_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.999
        symmetric: bool = False

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        projector = mlp(backbone.dim, options.hidden, options.output, norm=False)
        self.query_encoder = nn.Sequential(backbone, projector)
        self.key_encoder = EMA(self.query_encoder)
        self.queue = Queue(options.queue, options.output)
        load_old_names(self, {"online": "query_encoder", "target": "key_encoder"})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of the first view's queries, the second's keys and the queue; if symmetric, also the reverse."""
        images = len(batch.index)
        rows = 2 * images if self.options.symmetric else images
        queries = self.query_encoder(batch.views[:rows])
        self._keys = self.key_encoder(batch.views[-rows:]).roll(images, dims=0)
        loss = info_nce_with_queue(queries, self._keys, self.queue.embeddings, temperature=self.options.temperature)
        return {"loss": loss}

    def after_step(self, progress: float) -> None:
        """Update the key encoder, then push this step's keys to the queue."""
        options = self.options
        self.key_encoder.update(self.query_encoder, cosine_schedule(options.momentum, options.final_momentum, progress))
        self.queue.push(self._keys)
