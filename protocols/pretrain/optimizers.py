"""Optimizers, gradient clipping, and applying schedules to an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from protocols.pretrain.lars import LARS, spread
from protocols.pretrain.schedules import learning_rate, weight_decay
from protocols.spec.plugins import OPTIMIZERS, register_optimizer

if TYPE_CHECKING:
    from torch import nn

    from protocols.spec.protocol import Pretrain


@register_optimizer("adam")
def adam(parameters: list[nn.Parameter], pretrain: Pretrain) -> torch.optim.Optimizer:
    """Adam; weight decay is an L2 penalty on all parameters."""
    return torch.optim.Adam(
        parameters, lr=pretrain.lr, betas=pretrain.betas, weight_decay=pretrain.weight_decay, fused=True
    )


@register_optimizer("adamw")
def adamw(parameters: list[nn.Parameter], pretrain: Pretrain) -> torch.optim.Optimizer:
    """AdamW; biases and norms are not decayed."""
    groups = weight_decay_groups(parameters, pretrain.weight_decay)
    return torch.optim.AdamW(groups, lr=pretrain.lr, betas=pretrain.betas, fused=True)


@register_optimizer("sgd")
def sgd(parameters: list[nn.Parameter], pretrain: Pretrain) -> torch.optim.Optimizer:
    """SGD with momentum; weight decay is an L2 penalty on all parameters."""
    return torch.optim.SGD(
        parameters, lr=pretrain.lr, momentum=pretrain.momentum, weight_decay=pretrain.weight_decay, fused=True
    )


@register_optimizer("lars")
def lars(parameters: list[nn.Parameter], pretrain: Pretrain) -> torch.optim.Optimizer:
    """LARS (You, Gitman & Ginsburg 2017); biases and norms are neither adapted nor decayed."""
    return LARS(
        weight_decay_groups(parameters, pretrain.weight_decay),
        lr=pretrain.lr,
        momentum=pretrain.momentum,
        trust_coeff=pretrain.trust_coefficient,
        trust_clip=pretrain.clip_trust_ratio,
    )


def build_optimizer(module: nn.Module, pretrain: Pretrain) -> torch.optim.Optimizer:
    """The protocol's optimizer over a module's trainable parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return OPTIMIZERS.get(pretrain.optimizer)(parameters, pretrain, **pretrain.optimizer_options)


def weight_decay_groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Parameter groups in which biases and norms are not decayed."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def apply_schedules(optimizer: torch.optim.Optimizer, pretrain: Pretrain, progress: float) -> None:
    """Set learning rate and weight decay of the next step; groups without weight decay are unchanged."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(pretrain, progress)
        if group.get("weight_decay"):
            group["weight_decay"] = weight_decay(pretrain, progress)


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Clip the norm of each parameter's gradient separately to ``max_norm``."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        norms = torch.stack(torch._foreach_norm(gradients))  # noqa: SLF001
        torch._foreach_mul_(gradients, spread((max_norm / (norms + 1e-6)).clamp(max=1.0), gradients))
