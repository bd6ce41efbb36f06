"""Executing runs with their progress on the terminal: what ``bench run``, ``bench tune`` and ``bench.run`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run


def check_before_work(todo: Sequence[Run], context: ExecutionContext) -> list[Budget]:
    """Check device, runs folder and runs before any work starts; returns the budget of each pretraining.

    Raises:
        RequestError: a run cannot work.
    """
    from protocols.check.preflight import check
    from protocols.system.device import choose_device
    from results.store import refuse_run_folder, require_writable

    choose_device(context.device)
    refuse_run_folder(context.runs)
    require_writable(context.runs)
    return check(todo, context.data)


def execute_runs(
    todo: Sequence[Run],
    context: ExecutionContext,
    jobs: int | None,
    per_gpu: int,
    *,
    force: bool,
    on_start: Callable[[], None],
) -> int:
    """Execute runs and show their progress; returns how many failed.

    Args:
        todo: the runs; there may be none.
        context: folders and device.
        jobs: runs at a time, see ``slurm.launch.launch``.
        per_gpu: runs at a time on each GPU.
        force: whether runs that are done are repeated.
        on_start: called once it is known that nothing is wrong with the runs, before the first is executed.

    Raises:
        RequestError: something is wrong with them; nothing was started.
        KeyboardInterrupt: interrupted; the runs have saved their state.
    """
    if not todo:
        on_start()
        return 0
    from bench.dry_run import is_pretrained
    from bench.progress import display_for
    from results.store import discard
    from slurm.launch import launch

    budgets = check_before_work(todo, context)
    on_start()
    if force:
        for one in todo:
            discard(context.runs / one.folder())
    views = [
        budget.total_views if budget.views and not is_pretrained(one, context) else 0
        for one, budget in zip(todo, budgets, strict=True)
    ]
    with display_for(todo, views) as display:
        outcomes = launch(todo, context, display, jobs=jobs, per_gpu=per_gpu)
        return sum(outcome.record is None for outcome in outcomes)
