"""What ``bench run --dry-run`` prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.format import duration
from results.names import display_stage
from results.store import BACKBONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Plan
    from protocols.spec.run import Run


def plan_lines(
    planned: Plan, todo: Sequence[Run], budgets: Sequence[Budget], context: ExecutionContext
) -> Iterator[str]:
    """Runs that are done and runs to execute, one line for runs that differ in their seed only."""
    for preset, protocol in dict.fromkeys((run.preset, run.protocol) for run in (*planned.done, *planned.todo)):
        if preset != protocol:
            yield f"{preset}, which extends {protocol}"
    yield f"{len(planned.done)} runs done, {len(todo)} to execute"
    lines = Counter(
        run_line(run, "pretrained already" if is_pretrained(run, context) else budget_in_words(budget))
        for run, budget in zip(todo, budgets, strict=True)
    )
    yield from (f"{line} × {n} seeds" for line, n in lines.items())


def missing_data_lines(runs: Sequence[Run], missing: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Runs whose data are missing on this machine, and how to get the data.

    Args:
        runs: of the plan.
        missing: names of the missing data sets of each run, by the run's folder.
    """
    waiting = [run for run in runs if missing[run.folder()]]
    if not waiting:
        return
    yield f"{len(waiting)} to execute once their data are on this machine"
    lines = Counter(run_line(run, f"{', '.join(missing[run.folder()])} missing") for run in waiting)
    yield from (f"{line} × {n} seeds" for line, n in lines.items())
    yield from (f"  bench data {name}" for name in sorted({name for names in missing.values() for name in names}))


def run_line(run: Run, pretraining: str) -> str:
    """A run, its pretraining, and its evaluations."""
    measured = ", ".join(display_stage(run.evaluation_name(evaluation)) for evaluation in run.evaluations)
    return f"  {run.dataset.label} {run.backbone.label} {run.method.label} under {run.label}: {pretraining}; {measured}"


def is_pretrained(run: Run, context: ExecutionContext) -> bool:
    """Whether a run's backbone is stored."""
    return (context.runs / run.folder() / BACKBONE).exists()


def budget_in_words(budget: Budget) -> str:
    """The length of a pretraining: ``1,000,000 views (20 epochs, 3,906 steps of 128 images × 2 views)``.

    Of a budget in FLOPs, those of all steps are said too.
    """
    if not budget.views:
        return "no pretraining"
    epochs = budget.steps / budget.steps_per_epoch
    steps = f"{budget.steps:,} steps of {budget.batch} images × {budget.views} views"
    flops = f", {budget.total_views * budget.flops_per_view:.4g} FLOPs" if budget.flops_per_view else ""
    return f"{budget.total_views:,} views ({epochs:.3g} epochs, {steps}{flops})"


def estimate_lines(todo: Sequence[Run], budgets: Sequence[Budget], context: ExecutionContext) -> Iterator[str]:
    """An estimate of the remaining pretraining time, from a few steps of each kind of run."""
    from protocols.speed.estimate import duration_key, seconds_by_duration_key

    remaining = [(run, budget) for run, budget in zip(todo, budgets, strict=True) if not is_pretrained(run, context)]
    seconds_of = {}
    for key, seconds in seconds_by_duration_key(remaining, context):
        seconds_of[key] = seconds
        yield f"  {' '.join(key[:3])}: {duration(seconds)} a run"
    total = sum(seconds_of[duration_key(run)] for run, _ in remaining)
    yield f"about {duration(total)} of pretraining in all, on this machine, estimated from a few steps of each"


def duration_of(run: Run, budget: Budget, context: ExecutionContext) -> float:
    """Seconds that a run's pretraining takes on this machine, estimated from a few steps."""
    from protocols.speed.estimate import seconds_by_duration_key

    return sum(seconds for _, seconds in seconds_by_duration_key([(run, budget)], context))
