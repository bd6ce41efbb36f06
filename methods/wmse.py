"""W-MSE: the distance of views after whitening, which alone keeps representations from collapsing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import AtLeast, Below
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@register_method("wmse")
class WMSE(Method):
    """W-MSE (Ermolov, Siarohin, Sangineto & Sebe, ICML 2021, arXiv 2007.06346), after its released code.

    A batch is cut at random into sub-batches; every view of a sub-batch is whitened by itself, by the Cholesky factor
    of its covariance. Images that do not fill a sub-batch take no part in the step; an epoch's last batch that fills
    none has a loss and a gradient of 0.

    Deviation: all views go through the backbone in one pass and share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of W-MSE; defaults of the released code for CIFAR.

        Attributes:
            views: number of views of an image, 2 or 4 in the paper.
            hidden: width of the projector's hidden layer.
            output: size of the embedding; less than ``sub_batch``, and half of it or less in the paper.
            sub_batch: images that are whitened together; no more than a batch has.
            partitions: number of random partitions of a batch into sub-batches, over which the loss is averaged.
            eps: share of the identity in the covariance; for embeddings that cannot be whitened otherwise.
        """

        views: Annotated[int, AtLeast(2)] = 2
        hidden: Annotated[int, AtLeast(1)] = 1024
        output: Annotated[int, AtLeast(1)] = 64
        sub_batch: Annotated[int, AtLeast(2)] = 128
        partitions: Annotated[int, AtLeast(1)] = 1
        eps: Annotated[float, AtLeast(0), Below(1)] = 0.0

        def __post_init__(self) -> None:
            if self.sub_batch <= self.output and not self.eps:
                raise ValueError(f"the covariance of {self.output} dimensions of {self.sub_batch} images is singular")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if 0 < info.batch < options.sub_batch:
            raise RequestError(
                f"wmse: a batch of {info.batch} has no sub-batch of {options.sub_batch}",
                hint="set pretrain.batch, or wmse.sub_batch and wmse.output",
            )
        self.projector = mlp(backbone.dim, options.hidden, options.output)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """So many views with the augmentation ``standard``."""
        return ("standard",) * options.views

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean distance of the whitened embeddings of all pairs of views, over random partitions of the batch."""
        options, images = self.options, len(batch.index)
        z = self.projector(self.backbone(batch.views)).unflatten(0, (options.views, images))
        if images < options.sub_batch:
            return {"loss": 0.0 * z.float().sum()}
        fitting = images - images % options.sub_batch
        losses = []
        for _ in range(options.partitions):
            rows = torch.randperm(images, device=z.device)[:fitting]
            sub_batches = z.index_select(1, rows).unflatten(1, (-1, options.sub_batch))
            losses.append(whitened_distance(sub_batches, eps=options.eps))
        return {"loss": torch.stack(losses).mean()}


@full_precision
def whitened_distance(z: Tensor, *, eps: float) -> Tensor:
    """Mean of 2 - 2 cos of an image's whitened embeddings, over all pairs of views and all images.

    Args:
        z: (views, sub-batches, images, dim) embeddings.
        eps: see :func:`whiten`.

    Returns:
        A scalar in [0, 4].
    """
    whitened = F.normalize(whiten(z, eps=eps), dim=-1)
    distances = [2.0 - 2.0 * (first * second).sum(-1).mean() for first, second in combinations(whitened, 2)]
    return torch.stack(distances).mean()


def whiten(z: Tensor, *, eps: float) -> Tensor:
    """Embeddings of mean 0, and of covariance I if ``eps`` is 0, in every group of rows by itself.

    Args:
        z: (…, rows, dim) float32.
        eps: share of the identity in the covariance that is factorised.

    Returns:
        Of the same shape; not a number where a covariance is not positive definite.
    """
    centred = z - z.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (z.shape[-2] - 1)
    covariance = (1.0 - eps) * covariance + eps * torch.eye(z.shape[-1], device=z.device)
    # Without a check of errors, for which a host would wait.
    factor, failed = torch.linalg.cholesky_ex(covariance)
    factor = factor.masked_fill((failed > 0)[..., None, None], float("nan"))
    whitened: Tensor = torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
    return whitened
