"""Schedules of the learning rate and the weight decay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from protocols.spec.plugins import SCHEDULES, register_schedule

if TYPE_CHECKING:
    from protocols.spec.protocol import Pretrain

# A schedule returns the factor on the peak learning rate after the warm-up; `progress` in [0, 1] runs over the budget.


@register_schedule("constant")
def constant(progress: float, pretrain: Pretrain) -> float:
    """The peak learning rate throughout."""
    del progress, pretrain
    return 1.0


@register_schedule("cosine")
def cosine(progress: float, pretrain: Pretrain) -> float:
    """A half cosine from the end of the warm-up to zero (Loshchilov & Hutter 2017)."""
    after_warmup = (progress - pretrain.warmup) / (1 - pretrain.warmup)
    return (1 + math.cos(math.pi * after_warmup)) / 2


@register_schedule("step")
def step(progress: float, pretrain: Pretrain) -> float:
    """Multiplied by ``step_factor`` at each of ``milestones``."""
    return pretrain.step_factor ** sum(progress >= milestone for milestone in pretrain.milestones)


def learning_rate(pretrain: Pretrain, progress: float) -> float:
    """The learning rate at a fraction ``progress`` in [0, 1] of the budget."""
    if progress < pretrain.warmup:
        return pretrain.lr * progress / pretrain.warmup
    return pretrain.lr * SCHEDULES.get(pretrain.schedule)(progress, pretrain, **pretrain.schedule_options)


def weight_decay(pretrain: Pretrain, progress: float) -> float:
    """The weight decay at a fraction of the budget: constant, or a half cosine to ``final_weight_decay``."""
    first, last = pretrain.weight_decay, pretrain.final_weight_decay
    return first if last is None else last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
