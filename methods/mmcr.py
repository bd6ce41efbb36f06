"""MMCR: the mean embeddings of images spread over all directions, as far as a nuclear norm measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor

LOWEST = 1e-7
"""Singular values, as fractions of a matrix's norm, from which on :func:`polar_factor` is exact."""


@register_method("mmcr")
class MMCR(Method):
    """Maximum manifold capacity representations (Yerxa, Kuang, Simoncelli & Chung, NeurIPS 2023, arXiv 2303.03307).

    Deviation: all views go through the backbone in one pass and share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of MMCR; defaults of the paper's ImageNet experiments.

        Attributes:
            views: number of views of an image.
            local: weight of the mean nuclear norm of an image's own views.
            hidden: width of the projector's hidden layers.
            output: size of the embedding.
        """

        views: Annotated[int, AtLeast(2)] = 2
        local: Annotated[float, AtLeast(0)] = 0.0
        hidden: Annotated[int, AtLeast(1)] = 8192
        output: Annotated[int, AtLeast(1)] = 512

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """So many views with the augmentation ``standard``."""
        return ("standard",) * options.views

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The negative nuclear norm of the images' mean embeddings, and ``local`` · the mean norm of their views."""
        z = self.projector(self.backbone(batch.views)).unflatten(0, (self.options.views, len(batch.index)))
        return {"loss": manifold_capacity(z, local=self.options.local)}


@full_precision
def manifold_capacity(z: Tensor, *, local: float) -> Tensor:
    """The loss of MMCR (section 3).

    Args:
        z: (views, images, dim) embeddings; normalised here.
        local: weight of the second term.

    Returns:
        A scalar.
    """
    z = F.normalize(z, dim=-1)
    loss = -nuclear_norm(z.mean(0))
    return loss + local * nuclear_norm(z.transpose(0, 1)).mean() if local else loss


def nuclear_norm(matrices: Tensor) -> Tensor:
    """The sum of singular values of matrices (…, n, d), of shape (…).

    It is the inner product with the polar factor U Vᵀ, which is the gradient. A decomposition into singular values
    would make the host wait for a GPU.
    """
    return (matrices * polar_factor(matrices.detach())).sum((-2, -1))


def polar_factor(matrices: Tensor) -> Tensor:
    """U Vᵀ of matrices U S Vᵀ (…, n, d), by Halley's iteration with weights (Nakatsukasa, Bai & Gygi 2010).

    Every singular value s becomes s (a + b s²) / (1 + c s²), with the weights that bring the lowest closest to 1. Six
    steps take all above ``LOWEST`` to 1 within rounding of float32; those far below stay near 0.
    """
    if matrices.shape[-2] < matrices.shape[-1]:
        return polar_factor(matrices.mT).mT
    x: Tensor = (matrices.cpu() if matrices.device.type == "mps" else matrices).double()  # mps has no float64
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-30)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    low = LOWEST
    for _ in range(6):
        d = (4.0 * (1.0 - low**2) / low**4) ** (1 / 3)
        a = (1.0 + d) ** 0.5 + (8.0 - 4.0 * d + 8.0 * (2.0 - low**2) / (low**2 * (1.0 + d) ** 0.5)) ** 0.5 / 2.0
        b, c = (a - 1.0) ** 2 / 4.0, a + (a - 1.0) ** 2 / 4.0 - 1.0
        factor, _ = torch.linalg.cholesky_ex(identity + c * x.mT @ x)
        x = b / c * x + (a - b / c) * torch.cholesky_solve(x.mT, factor).mT
        low = min(low * (a + b * low**2) / (1.0 + c * low**2), 1.0 - 1e-16)
    return x.to(matrices)
