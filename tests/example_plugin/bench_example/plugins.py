"""Plugins of four kinds; `pyproject.toml` names them as entry points."""

from dataclasses import dataclass

import torch

from bench import (
    Batch,
    Features,
    Method,
    Pretrain,
    mlp,
    register_evaluation,
    register_method,
    register_optimizer,
    register_schedule,
)


@register_method("example-mse")
class Mse(Method):
    """Two views predict each other, with a stop-gradient."""

    @dataclass(frozen=True)
    class Options:
        """Width of the predictor."""

        hidden: int = 64

    def __init__(self, backbone, options, info):
        super().__init__(backbone, options, info)
        self.predictor = mlp(backbone.dim, options.hidden, backbone.dim)

    def forward(self, batch: Batch):
        """Mean squared error of the predictions."""
        z = self.backbone(batch.views)
        return {"loss": (self.predictor(z) - z.detach().roll(len(z) // 2, 0)).square().mean()}


@register_evaluation("example-norm")
def norm(features: Features, *, power: float = 2.0) -> dict[str, float]:
    """Mean norm of the representations."""
    return {"norm": float(torch.linalg.vector_norm(features.test, ord=power, dim=1).mean())}


@register_optimizer("example-sgd")
def sgd(parameters, pretrain: Pretrain, *, nesterov: bool = True) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum."""
    return torch.optim.SGD(parameters, lr=pretrain.lr, momentum=pretrain.momentum, nesterov=nesterov)


@register_schedule("example-linear")
def linear(progress: float, pretrain: Pretrain) -> float:
    """Linear decay to zero."""
    return (1 - progress) / (1 - pretrain.warmup)
