"""SimCLR: tell the other view of an image from every other image of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import nt_xent
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


@register_method("simclr")
class SimCLR(Method):
    """SimCLR (Chen, Kornblith, Norouzi & Hinton, ICML 2020, arXiv 2002.05709).

    The temperature is the paper's for CIFAR-10 (its appendix B.9). Both views go through the backbone in one pass.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            temperature: of the softmax over similarities; > 0.
            hidden: width of the projector's hidden layer.
            output: width of the embedding.
            activation: the projector's.
            loss: ``mean_log`` is the paper's mean(-log p); ``log_mean`` is the -log mean(p) of the code of Patacchiola
                & Storkey (2020).
        """

        temperature: float = 0.5
        hidden: int = 512
        output: int = 128
        activation: Literal["relu", "leaky_relu"] = "relu"
        loss: Literal["mean_log", "log_mean"] = "mean_log"

        def __post_init__(self) -> None:
            if self.temperature <= 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        activation = nn.ReLU if options.activation == "relu" else nn.LeakyReLU
        self.projector = mlp(backbone.dim, options.hidden, options.output, activation=activation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """NT-Xent over the batch."""
        z = self.projector(self.backbone(batch.views))
        log_of_mean = self.options.loss == "log_mean"
        return {"loss": nt_xent(z, temperature=self.options.temperature, log_of_mean=log_of_mean)}
