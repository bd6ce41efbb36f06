"""MoCo v2: tell the key of the other view from a queue of earlier keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import info_nce_with_queue
from methods.memory import Queue
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


@register_method("mocov2")
class MoCoV2(Method):
    """MoCo v2 (Chen, Fan, Girshick & He 2020, arXiv 2003.04297; He et al., CVPR 2020, arXiv 1911.05722).

    Deviation: BatchNorm is not shuffled, for there are no other devices to shuffle over.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            temperature: of the softmax over similarities; > 0.
            queue: keys kept as negatives.
            hidden: width of the projector's hidden layer.
            output: width of the embedding.
            momentum: of the key encoder at the start, in [0, 1].
            final_momentum: at the end, reached along a cosine.
            symmetric: whether the second view asks for the first's key too, and the queue takes the keys of both, as in
                the authors' notebook for CIFAR-10.
        """

        temperature: float = 0.2
        queue: int = 65_536
        hidden: int = 2048
        output: int = 128
        momentum: float = 0.999
        final_momentum: float = 0.999
        symmetric: bool = False

        def __post_init__(self) -> None:
            if self.temperature <= 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")
            if not (0 <= self.momentum <= 1 and 0 <= self.final_momentum <= 1):
                raise ValueError(f"momenta must lie in [0, 1], not {self.momentum} and {self.final_momentum}")
            if self.queue < 1:
                raise ValueError(f"queue must be 1 or more, not {self.queue}")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        projector = mlp(backbone.dim, options.hidden, options.output, norm=False)
        self.online = nn.Sequential(backbone, projector)
        self.target = EMA(self.online)
        self.queue = Queue(options.queue, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The first view's query against the second's key and the queue; if symmetric, also the other way round."""
        half = len(batch.index)
        asked = 2 * half if self.options.symmetric else half
        queries = self.online(batch.views[:asked])
        self._keys = self.target(batch.views[-asked:]).roll(half, dims=0)
        loss = info_nce_with_queue(queries, self._keys, self.queue.embeddings, temperature=self.options.temperature)
        return {"loss": loss}

    def after_step(self, progress: float) -> None:
        """Let the key encoder follow, and queue its keys."""
        options = self.options
        self.target.update(self.online, cosine_schedule(options.momentum, options.final_momentum, progress))
        self.queue.push(self._keys)
