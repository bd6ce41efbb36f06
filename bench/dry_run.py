"""What ``bench run --dry-run`` prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.plan import Plan
    from protocols.budget import Budget
    from protocols.place import Place
    from protocols.run import Run


def plan_lines(planned: Plan, todo: Sequence[Run], budgets: Sequence[Budget]) -> Iterator[str]:
    """What is done and what would be carried out, a line for runs that differ in their seed alone."""
    yield f"{len(planned.done)} runs done, {len(todo)} to carry out"
    lines = Counter(
        f"  {run.dataset.label} {run.backbone.label} {run.method.label} under {run.label}: {length(budget)}"
        for run, budget in zip(todo, budgets, strict=True)
    )
    yield from (f"{line} × {n} seeds" for line, n in lines.items())


def length(budget: Budget) -> str:
    """How long a pretraining is, in words."""
    if not budget.views:
        return "no pretraining"
    epochs = budget.steps / budget.epoch
    steps = f"{budget.steps:,} steps of {budget.batch} images × {budget.views} views"
    return f"{budget.total_views:,} views ({epochs:.3g} epochs, {steps})"


def estimate_lines(todo: Sequence[Run], budgets: Sequence[Budget], place: Place) -> Iterator[str]:
    """How long the runs would take, from a few steps of each kind."""
    from protocols.estimate import seconds_for

    known: dict[tuple[str, str, str, str], float] = {}
    total = 0.0
    for run, budget in zip(todo, budgets, strict=True):
        kind = (run.method.label, run.dataset.label, run.backbone.label, run.label)
        if kind not in known:
            known[kind] = seconds_for(run, budget, place)
            yield f"  {' '.join(kind[:3])}: {duration(known[kind])} a run"
        total += known[kind]
    yield f"about {duration(total)} in all, on this machine, by a few steps of each just now"
