"""SimCLR: contrast two views of an image with all other images of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import nt_xent
from methods.registry import register_method
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor


@register_method("simclr")
class SimCLR(Method):
    """SimCLR (Chen, Kornblith, Norouzi & Hinton, ICML 2020, arXiv 2002.05709).

    Both views go through the backbone in one pass.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of SimCLR; the temperature is that of the paper's CIFAR-10 experiments (appendix B.9).

        Attributes:
            temperature: of the softmax over cosine similarities.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
            activation: of the projector's hidden layer.
            loss: ``mean_log`` is the paper's mean(-log p); ``log_mean`` is -log mean(p), as in the code of Patacchiola
                & Storkey (2020).
        """

        temperature: Annotated[float, Above(0)] = 0.5
        hidden: Annotated[int, AtLeast(1)] = 512
        output: Annotated[int, AtLeast(1)] = 128
        activation: Literal["relu", "leaky_relu"] = "relu"
        loss: Literal["mean_log", "log_mean"] = "mean_log"

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        activation = nn.ReLU if options.activation == "relu" else nn.LeakyReLU
        self.projector = mlp(backbone.dim, options.hidden, options.output, activation=activation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """NT-Xent over the 2b embeddings of the batch."""
        z = self.projector(self.backbone(batch.views))
        log_of_mean = self.options.loss == "log_mean"
        return {"loss": nt_xent(z, temperature=self.options.temperature, log_of_mean=log_of_mean)}
