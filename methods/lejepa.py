"""LeJEPA: views of an image close to their mean, embeddings distributed like an isotropic Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_FREQUENCY = 3.0
"""Up to which characteristic functions are compared."""


@register_method("lejepa")
class LeJEPA(Method):
    """LeJEPA (Balestriero & LeCun 2025, arXiv 2511.08544), after its released code.

    SIGReg grows with the number of images of a batch, so that ``weight`` belongs to a batch size.

    Deviation: views of one size share BatchNorm statistics.
    """

    augmentations = ("small",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of LeJEPA; defaults of the released code, the head that of its minimal example.

        Attributes:
            crops: number of small crops of an image, beside the two full views.
            weight: λ, share of SIGReg in the loss.
            directions: number of random directions, drawn again every step, that embeddings are projected on.
            points: number of frequencies at which characteristic functions are compared.
            hidden: width of the projector's hidden layers.
            output: size of the embedding.
        """

        crops: Annotated[int, AtLeast(0)] = 6
        weight: Annotated[float, AtLeast(0), AtMost(1)] = 0.05
        directions: Annotated[int, AtLeast(1)] = 1024
        points: Annotated[int, AtLeast(2)] = 17
        hidden: Annotated[int, AtLeast(1)] = 2048
        output: Annotated[int, AtLeast(1)] = 128

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.hidden, options.output)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """Two full views, then the small crops."""
        small: tuple[str, ...] = ("small",) * options.crops
        return ("standard", "standard", *small)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The mixture of both terms, and each by itself."""
        options = self.options
        z = torch.cat([self.backbone(views) for views in (batch.views, *batch.crops)])
        z = self.projector(z).unflatten(0, (-1, len(batch.index)))
        directions = F.normalize(torch.randn(options.output, options.directions, device=z.device), dim=0)
        invariance = distance_to_centre(z, 2)
        gaussianity = sigreg(z, directions, points=options.points)
        loss = options.weight * gaussianity + (1.0 - options.weight) * invariance
        return {"loss": loss, "sigreg": gaussianity, "invariance": invariance}


@full_precision
def distance_to_centre(z: Tensor, full: int) -> Tensor:
    """Mean squared difference of embeddings z (views, n, d) and the mean of an image's first ``full`` views."""
    return (z - z[:full].mean(0)).square().mean()


@full_precision
def sigreg(z: Tensor, directions: Tensor, *, points: int) -> Tensor:
    """Sketched isotropic Gaussian regularisation: the statistic of Epps & Pulley (1983) on projections.

    It is n · the integral over frequencies t of |φ(t) - exp(-t²/2)|² exp(-t²/2), by the trapezoidal rule from -3 to 3,
    where φ is the empirical characteristic function of the n projections of a view on a direction.

    Args:
        z: (views, n, d) embeddings.
        directions: (d, m) unit vectors.
        points: number of frequencies from 0 to 3; negative ones give the same.

    Returns:
        A scalar, the mean over views and directions.
    """
    t = torch.linspace(0.0, LARGEST_FREQUENCY, points, device=z.device)
    gaussian = (-t.square() / 2.0).exp()
    angles = (z @ directions)[..., None] * t
    error = (angles.cos().mean(1) - gaussian).square() + angles.sin().mean(1).square()
    return 2.0 * z.shape[1] * torch.trapezoid(error * gaussian, t).mean()
