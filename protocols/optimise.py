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

        lars: torch.optim.Optimizer = Lars(without_decay(parameters, pretrain), momentum=pretrain.momentum, **decay)
        return lars
    if pretrain.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=pretrain.momentum, fused=True, **decay)
    kind = torch.optim.AdamW if pretrain.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, fused=True, **decay)


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
