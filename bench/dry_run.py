"""What ``bench run --dry-run`` prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.words import duration
from results.store import BACKBONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.plan import Plan
    from protocols.budget import Budget
    from protocols.place import Place
    from protocols.run import Run


def plan_lines(planned: Plan, todo: Sequence[Run], budgets: Sequence[Budget], place: Place) -> Iterator[str]:
    """What is done and what would be carried out, a line for runs that differ in their seed alone."""
    yield from extensions([*planned.done, *planned.todo])
    yield f"{len(planned.done)} runs done, {len(todo)} to carry out"
    lines = Counter(line(run, training(run, budget, place)) for run, budget in zip(todo, budgets, strict=True))
    yield from (f"{line} × {n} seeds" for line, n in lines.items())


def absent_lines(runs: Sequence[Run], missing: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The runs whose data are not here, and how to get them.

    Args:
        runs: to carry out.
        missing: names of the data sets that each lacks, by its folder.
    """
    waiting = [run for run in runs if missing[run.folder()]]
    if not waiting:
        return
    yield f"{len(waiting)} to carry out once their data are here"
    lines = Counter(line(run, f"{', '.join(missing[run.folder()])} not here") for run in waiting)
    yield from (f"{line} × {n} seeds" for line, n in lines.items())
    yield from (f"  bench data {name}" for name in sorted({name for names in missing.values() for name in names}))


def extensions(runs: Sequence[Run]) -> Iterator[str]:
    """Under which protocol the runs were asked for, where that extends another."""
    for preset, protocol in dict.fromkeys((run.preset, run.protocol) for run in runs):
        if preset != protocol:
            yield f"{preset}, which extends {protocol}"


def line(run: Run, before: str) -> str:
    """A run, what comes before its evaluation, and what is measured of it."""
    measured = ", ".join(map(run.name_of, run.evaluations))
    return f"  {run.dataset.label} {run.backbone.label} {run.method.label} under {run.label}: {before}; {measured}"


def training(run: Run, budget: Budget, place: Place) -> str:
    """What is left of a run's pretraining."""
    return "pretrained already" if is_pretrained(run, place) else length(budget)


def is_pretrained(run: Run, place: Place) -> bool:
    """Whether a run's backbone is stored."""
    return (place.runs / run.folder() / BACKBONE).exists()


def length(budget: Budget) -> str:
    """How long a pretraining is, in words."""
    if not budget.views:
        return "no pretraining"
    epochs = budget.steps / budget.epoch
    steps = f"{budget.steps:,} steps of {budget.batch} images × {budget.views} views"
    return f"{budget.total_views:,} views ({epochs:.3g} epochs, {steps})"


def estimate_lines(todo: Sequence[Run], budgets: Sequence[Budget], place: Place) -> Iterator[str]:
    """How long the pretraining that is left would take, from a few steps of each kind."""
    from protocols.estimate import kind_of, seconds_by_kind

    left = [(run, budget) for run, budget in zip(todo, budgets, strict=True) if not is_pretrained(run, place)]
    known = {}
    for kind, seconds in seconds_by_kind(left, place):
        known[kind] = seconds
        yield f"  {' '.join(kind[:3])}: {duration(seconds)} a run"
    total = sum(known[kind_of(run)] for run, _ in left)
    yield f"about {duration(total)} of pretraining in all, on this machine, by a few steps of each just now"
