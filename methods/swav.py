"""SwAV: predict from one view which prototypes another view of the image was assigned to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.clustering import sinkhorn
from methods.heads import mlp
from methods.losses import cross_entropy_between_views
from methods.memory import Queue, cosine_similarities
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("swav")
class SwAV(Method):
    """SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882).

    Two full views are assigned and predicted, small crops (augmentation ``small``) are only predicted. A loss that
    stays at log K, that of equal predictions for all prototypes, is a collapse.

    Deviation: views of one size share BatchNorm statistics.
    """

    augmentations = ("small",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of SwAV; defaults of the released code for batches of 4,096, which has no queue.

        Attributes:
            crops: number of small crops of an image, beside the two full views.
            prototypes: K, number of prototypes.
            hidden: width of the projector's hidden layer.
            output: size of the embedding and of a prototype.
            temperature: of the softmax over prototypes.
            epsilon: weight of the entropy of an assignment; a higher one spreads it over more prototypes.
            iterations: of the Sinkhorn algorithm.
            queue: for small batches: number of earlier embeddings of each full view that are assigned with the batch;
                0 for none.
            queue_start: fraction of the pretraining after which the queue is used, once it is full.
            freeze: fraction of the pretraining during which the prototypes are not trained.
        """

        crops: Annotated[int, AtLeast(0)] = 6
        prototypes: Annotated[int, AtLeast(1)] = 3000
        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 128
        temperature: Annotated[float, Above(0)] = 0.1
        epsilon: Annotated[float, Above(0)] = 0.05
        iterations: Annotated[int, AtLeast(1)] = 3
        queue: Annotated[int, AtLeast(0)] = 0
        queue_start: Annotated[float, AtLeast(0), AtMost(1)] = 0.0375
        freeze: Annotated[float, AtLeast(0), AtMost(1)] = 0.00125

    progress: Tensor

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.log_prototypes = math.log(options.prototypes)
        self.projector = mlp(backbone.dim, options.hidden, options.output)
        self.prototypes = nn.Parameter(F.normalize(nn.Linear(options.output, options.prototypes).weight.detach()))
        self.prototypes.register_hook(lambda gradient: gradient * (self.progress >= options.freeze))
        queues = [Queue(options.queue, options.output) for _ in range(2 if options.queue else 0)]
        for queue in queues:
            queue.embeddings.zero_()  # a row of zeros is an empty one
        self.queues = nn.ModuleList(queues)
        self.register_buffer("progress", torch.zeros(()))

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """Two full views, then the small crops."""
        small: tuple[str, ...] = ("small",) * options.crops
        return ("standard", "standard", *small)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of every view's prediction under the assignments of the other full views."""
        options, images = self.options, len(batch.index)
        z = torch.cat([self.projector(self.backbone(views)) for views in (batch.views, *batch.crops)])
        log_p = (cosine_similarities(z, self.prototypes) / options.temperature).log_softmax(1)
        self._embeddings = z[: 2 * images].detach().chunk(2)
        queues: list[nn.Module | None] = [*self.queues] or [None, None]
        targets = [self.assign(*pair) for pair in zip(self._embeddings, queues, strict=True)]
        return {"loss": cross_entropy_between_views(torch.stack(targets), log_p.unflatten(0, (-1, images)))}

    @torch.no_grad()
    def assign(self, embeddings: Tensor, queue: nn.Module | None) -> Tensor:
        """The assignments (b, K) of a batch's embeddings (b, output) of one full view, made together with its queue."""
        options = self.options
        scores = cosine_similarities(embeddings, self.prototypes)
        weights = torch.ones(len(scores), device=scores.device)
        if isinstance(queue, Queue):
            used = queue.embeddings[-1].any() & (self.progress >= options.queue_start)
            scores = torch.cat([scores, cosine_similarities(queue.embeddings, self.prototypes)])
            weights = torch.cat([weights, used.float().expand(options.queue)])
        return sinkhorn(scores, weights, epsilon=options.epsilon, iterations=options.iterations)[: len(embeddings)]

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Bring prototypes to unit length, as the released code does before every step, and fill the queues."""
        self.prototypes.copy_(F.normalize(self.prototypes))
        self.progress.fill_(progress)
        for queue, embeddings in zip(self.queues, self._embeddings, strict=False):
            cast("Queue", queue).push(embeddings)
