"""DCL: SimCLR whose denominator leaves out the positive pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import full_precision
from methods.registry import register_method
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("dcl")
class DCL(Method):
    """Decoupled contrastive learning (Yeh et al., ECCV 2022, arXiv 2110.06848).

    With ``sigma`` above 0 it is DCLW, which weighs a positive pair the less, the more alike its views are.

    Deviation: both views go through the backbone in one pass and share BatchNorm statistics.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of DCL; the temperature is that of the paper's ImageNet experiments, the head SimCLR's.

        Attributes:
            temperature: of the softmax over cosine similarities.
            sigma: scale of the weights of positive pairs, 0.5 for the paper's DCLW; 0 for no weights.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
        """

        temperature: Annotated[float, Above(0)] = 0.1
        sigma: Annotated[float, AtLeast(0)] = 0.0
        hidden: Annotated[int, AtLeast(1)] = 512
        output: Annotated[int, AtLeast(1)] = 128

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.projector = mlp(backbone.dim, options.hidden, options.output)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The decoupled loss over the 2b embeddings of the batch."""
        z = self.projector(self.backbone(batch.views))
        return {"loss": decoupled_contrastive(z, temperature=self.options.temperature, sigma=self.options.sigma)}


@full_precision
def decoupled_contrastive(z: Tensor, *, temperature: float, sigma: float) -> Tensor:
    """Contrastive loss without the positive pair in the denominator (equation 5; with weights, equation 6).

    Args:
        z: (2b, d) embeddings, view v of image i in row v·b + i; need not be normalised.
        temperature: divides the cosine similarities; > 0.
        sigma: of the weights 2 - exp(cos / sigma) / its mean over images, which get no gradient; 0 for weights of 1.

    Returns:
        A scalar, the mean over all embeddings.
    """
    half = len(z) // 2
    similarity = F.normalize(z) @ F.normalize(z).T
    positive = similarity.diagonal(half)
    weight = 2.0 - half * (positive.detach() / sigma).softmax(0) if sigma else 1.0
    image = torch.arange(len(z), device=z.device) % half
    negatives = (similarity / temperature).masked_fill(image[:, None] == image, float("-inf"))
    return negatives.logsumexp(1).mean() - (weight * positive).mean() / temperature
