"""TiCo: invariant to the view, with embeddings that avoid the directions in which many earlier ones lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("tico")
class TiCo(Method):
    """TiCo (Zhu et al. 2022, arXiv 2206.10698).

    The matrix that embeddings are contrasted with gets no gradient, as in the paper's figure and in lightly.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of TiCo; defaults of the paper's ImageNet experiments.

        Attributes:
            beta: of the second moments' moving average: the weight of earlier batches.
            rho: weight of the covariance contrast.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
            momentum: of the target network's moving average at the start; rises to 1 along a cosine.
        """

        beta: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
        rho: Annotated[float, AtLeast(0)] = 8.0
        hidden: Annotated[int, AtLeast(1)] = 4096
        output: Annotated[int, AtLeast(1)] = 256
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99

    second_moments: Tensor

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.online = nn.Sequential(backbone, mlp(backbone.dim, options.hidden, options.output))
        self.target = EMA(self.online)
        self.register_buffer("second_moments", torch.zeros(options.output, options.output))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss between the first views' embeddings, and the target network's of the second views."""
        images = len(batch.index)
        z, target = self.online(batch.views[:images]), self.target(batch.views[images:])
        self._second_moments = update_second_moments(self.second_moments, z.detach(), beta=self.options.beta)
        return {"loss": covariance_contrast(z, target, self._second_moments, rho=self.options.rho)}

    def after_step(self, progress: float) -> None:
        """Update the second moments and the target network."""
        self.second_moments.copy_(self._second_moments)
        self.target.update(self.online, cosine_schedule(self.options.momentum, 1.0, progress))


@full_precision
def update_second_moments(before: Tensor, z: Tensor, *, beta: float) -> Tensor:
    """``beta`` · the second moments (d, d) before + (1 - ``beta``) · those of normalised embeddings z (n, d)."""
    z = F.normalize(z)
    return before.lerp(z.T @ z / len(z), 1.0 - beta)


@full_precision
def covariance_contrast(z: Tensor, target: Tensor, second_moments: Tensor, *, rho: float) -> Tensor:
    """Mean of 1 - z · z' + rho · zᵀ C z over normalised embeddings z and targets z'.

    Args:
        z: (n, d) embeddings.
        target: (n, d) of the other views; receives no gradient.
        second_moments: C, (d, d); receives no gradient.
        rho: weight of the second term.

    Returns:
        A scalar.
    """
    z, target = F.normalize(z), F.normalize(target.detach())
    return 1.0 - (z * target).sum(1).mean() + rho * ((z @ second_moments.detach()) * z).sum(1).mean()
