"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from protocols.protocol import Pretrain


def optimizer_for(module: nn.Module, pretrain: Pretrain) -> torch.optim.Optimizer:
    """The protocol's optimiser over a method's trainable parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    decay: dict[str, Any] = {"lr": pretrain.lr, "weight_decay": pretrain.weight_decay}
    if pretrain.optimizer == "lars":
        from timm.optim.lars import Lars

        trust: dict[str, Any] = {"trust_coeff": pretrain.trust, "trust_clip": pretrain.clip_trust}
        lars: torch.optim.Optimizer = Lars(
            without_decay(parameters, pretrain), momentum=pretrain.momentum, **decay, **trust
        )
        return lars
    if pretrain.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=pretrain.momentum, fused=True, **decay)
    if pretrain.optimizer == "adamw":
        return torch.optim.AdamW(without_decay(parameters, pretrain), fused=True, **decay)
    return torch.optim.Adam(parameters, fused=True, **decay)


def without_decay(parameters: list[nn.Parameter], pretrain: Pretrain) -> list[dict[str, Any]]:
    """Parameter groups in which biases and norms are not decayed (which LARS then does not adapt either)."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": pretrain.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(pretrain: Pretrain, progress: float) -> float:
    """The learning rate when a fraction ``progress`` in [0, 1] of the budget is spent."""
    if progress < pretrain.warmup:
        return pretrain.lr * progress / pretrain.warmup
    if pretrain.schedule == "cosine":
        after = (progress - pretrain.warmup) / (1 - pretrain.warmup)
        return pretrain.lr * (1 + math.cos(math.pi * after)) / 2
    if pretrain.schedule == "step":
        return pretrain.lr * 0.1 ** sum(progress >= milestone for milestone in pretrain.milestones)
    return pretrain.lr


def weight_decay(pretrain: Pretrain, progress: float) -> float:
    """The weight decay at the same point."""
    first, last = pretrain.weight_decay, pretrain.final_weight_decay
    return first if last is None else last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def follow_schedules(optimizer: torch.optim.Optimizer, pretrain: Pretrain, progress: float) -> None:
    """Set what a step goes by; groups without weight decay stay without."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(pretrain, progress)
        if group["weight_decay"]:
            group["weight_decay"] = weight_decay(pretrain, progress)


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Shorten every parameter's gradient, on its own, to a norm of ``limit`` at most."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    for gradient in (p.grad for p in parameters if p.grad is not None):
        gradient.mul_((limit / (gradient.norm() + 1e-6)).clamp(max=1.0))
