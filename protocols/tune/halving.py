"""Successive halving (Jamieson & Talwalkar, AISTATS 2016): many short trials, of which the best are trained longer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.spec.protocol import Pretrain

FINALISTS = 2
"""Trials that have the whole budget at least: the default, and another."""


def rounds_of(trials: int, factor: int | None) -> list[tuple[int, int]]:
    """Number of trials and divisor of their budget, of every round of a search: ``[(27, 9), (9, 3), (3, 1)]``.

    Args:
        trials: of the first round.
        factor: by which the trials become fewer and the budget longer; None for one round with the whole budget.
    """
    sizes = [trials]
    while factor and sizes[-1] // factor >= FINALISTS:
        sizes.append(sizes[-1] // factor)
    return [(size, (factor or 1) ** (len(sizes) - number)) for number, size in enumerate(sizes, start=1)]


def cost_of(trials: int, factor: int | None) -> float:
    """What a search costs, in trials with the whole budget."""
    return sum(size / divisor for size, divisor in rounds_of(trials, factor))


def survivors(scores: Sequence[float], count: int) -> list[int]:
    """The trials of a round that go on: the first, which is the default, and the best of the others.

    Of equal scores the first goes on; what failed, with a score of NaN, does not.
    """
    others = [index for index, score in enumerate(scores) if index and not math.isnan(score)]
    return sorted([0, *sorted(others, key=lambda index: -scores[index])[: count - 1]])


def shortened_budget(pretrain: Pretrain, divisor: int) -> dict[str, float]:
    """The budget of a pretraining divided by a number, as in ``[pretrain]``."""
    if pretrain.views is not None:
        return {"views": max(1, round(pretrain.views / divisor))}
    name, value = ("epochs", pretrain.epochs) if pretrain.flops is None else ("flops", pretrain.flops)
    assert value is not None
    return {name: value / divisor}
