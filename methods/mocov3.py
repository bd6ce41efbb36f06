"""MoCo v3: contrast a prediction with a momentum network's keys of the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import info_nce_in_batch
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("mocov3")
class MoCoV3(Method):
    """MoCo v3 (Chen, Xie & He, ICCV 2021, arXiv 2104.02057).

    Deviations: both views go through each network in one pass and share BatchNorm statistics; a transformer's patch
    projection is trained like its other layers, and its position embeddings are those of the backbone.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of MoCo v3; defaults of the released code for ResNet-50.

        For transformers it has ``temperature`` 0.2, ``layers`` 3 and ``predictor_norm``.

        Attributes:
            temperature: of the softmax over cosine similarities; the loss is multiplied by twice its value.
            layers: of the projector, which ends in BatchNorm without weights.
            hidden: width of the hidden layers of projector and predictor.
            output: size of the embedding.
            predictor_norm: whether the predictor ends in BatchNorm without weights, too.
            momentum: of the key network's moving average at the start; rises to 1 along a cosine.
        """

        temperature: Annotated[float, Above(0)] = 1.0
        layers: Annotated[int, AtLeast(1)] = 2
        hidden: Annotated[int, AtLeast(1)] = 4096
        output: Annotated[int, AtLeast(1)] = 256
        predictor_norm: bool = False
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        hidden, output = options.hidden, options.output
        widths = (backbone.dim, *[hidden] * (options.layers - 1), output)
        self.query_encoder = nn.Sequential(backbone, mlp(*widths, bias=False, last_norm=True))
        self.predictor = mlp(output, hidden, output, bias=False, last_norm=options.predictor_norm)
        self.key_encoder = EMA(self.query_encoder)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """2T · the sum over both directions of InfoNCE between a view's queries and the other view's keys."""
        q1, q2 = self.predictor(self.query_encoder(batch.views)).chunk(2)
        k1, k2 = self.key_encoder(batch.views).chunk(2)
        temperature = self.options.temperature
        losses = [info_nce_in_batch(*pair, temperature=temperature) for pair in ((q1, k2), (q2, k1))]
        return {"loss": 2.0 * temperature * (losses[0] + losses[1])}

    def after_step(self, progress: float) -> None:
        """Update the key network; the next step's keys are those of the updated one, as in the released code."""
        self.key_encoder.update(self.query_encoder, cosine_schedule(self.options.momentum, 1.0, progress))
