"""``bench run``: carry out a grid of runs, and show the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.options import (
    DATA,
    DEVICE,
    PROTOCOL,
    RUNS,
    Backbones,
    Data,
    Datasets,
    Device,
    Epochs,
    EvaluateOn,
    Evaluations,
    Force,
    Limit,
    Methods,
    Plain,
    Protocol,
    Ranks,
    Refine,
    Runs,
    Seeds,
    Settings,
    Views,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.plan import Plan
    from protocols.budget import Budget
    from protocols.place import Place
    from protocols.run import Run

EXAMPLES = """\b
Examples:
  bench run
      the protocol's own grid: five methods, three seeds
  bench run --methods relational,simclr --datasets cifar10,stl10
  bench run --methods simclr --seeds 0-4 --set simclr.temperature=0.2
  bench run --methods 'relational[views=4],relational[views=8],simclr'
      several settings of one method, by the labels that tables print
  bench run --methods simclr --datasets cifar10 --evaluate-on cifar10,cifar100
      pretrained once, measured on both; what is pretrained already is only measured
  bench run --methods simclr,byol --refine graph,averaged
      measured as they are, and once more after each refinement
  bench run --methods ./mine.py,simclr,random,supervised
      your own method beside the known ones
  bench run --protocol relational2020 --datasets cifar10 --epochs 10 --dry-run
  bench run --protocol relational2020-table1 --datasets cifar10,cifar100
      a published table, or the part of it whose data are here; runs of other tables are shared
"""


def run(
    *,
    methods: Methods = "",
    datasets: Datasets = "",
    backbones: Backbones = "",
    protocol: Protocol = PROTOCOL,
    seeds: Seeds = "",
    evaluations: Evaluations = "",
    refine: Refine = "",
    evaluate_on: EvaluateOn = "",
    epochs: Epochs = None,
    views: Views = None,
    settings: Settings = [],  # noqa: B006 - typer copies it
    data: Data = DATA,
    runs: Runs = RUNS,
    device: Device = DEVICE,
    plain: Plain = False,
    ranks: Ranks = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default what the machine has room for.")
    ] = None,
    per_gpu: Annotated[int, typer.Option(min=1, help="Runs at a time on each GPU, where --jobs leaves it open.")] = 1,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate of the time.")] = False,
    force: Force = False,
    to: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
) -> None:
    """Compare methods: carry out the runs of a grid that are not done yet, and show the table.

    What is not given is the protocol's choice. The same command again carries on where it stopped, if it did.
    """
    from bench.plan import expand, parse, plan
    from protocols.place import Place

    request = parse(
        methods=methods,
        datasets=datasets,
        backbones=backbones,
        seeds=seeds,
        protocol=protocol,
        evaluations=evaluations,
        refine=refine,
        evaluate_on=evaluate_on,
        epochs=epochs,
        views=views,
        settings=settings,
    )
    planned = plan(expand(request, data), runs, force=force)
    todo, place = planned.todo[:limit], Place(runs, data, device, plain, ranks)
    if dry_run:
        show_plan(planned, todo, place)
        return
    failed = carry_out(todo, place, jobs, per_gpu, force=force) if todo else 0
    show_table(planned, runs, to if todo else None)
    raise typer.Exit(1 if failed else 0)


def prepare(todo: Sequence[Run], place: Place) -> list[Budget]:
    """Find out what is wrong before any work starts; returns how long each pretraining is.

    Raises:
        RequestError: something is.
    """
    from protocols.check import check
    from protocols.hardware import choose_device
    from results.store import require_writable

    choose_device(place.device)
    require_writable(place.runs)
    return check(todo, place.data)


def carry_out(todo: Sequence[Run], place: Place, jobs: int | None, per_gpu: int, *, force: bool) -> int:
    """Carry runs out; returns how many failed."""
    from bench.progress import display_for
    from results.store import discard
    from slurm.launch import launch

    budgets = prepare(todo, place)
    if force:
        for one in todo:
            discard(place.runs / one.folder())
    views = [views_left(one, budget, place) for one, budget in zip(todo, budgets, strict=True)]
    try:
        with display_for(todo, views) as display:
            return sum(outcome.record is None for outcome in launch(todo, place, display, jobs=jobs, per_gpu=per_gpu))
    except KeyboardInterrupt:
        typer.echo("bench: interrupted; the same command carries on", err=True)
        raise typer.Exit(130) from None


def views_left(run: Run, budget: Budget, place: Place) -> int:
    """That its pretraining takes, if it has not had one."""
    from bench.dry_run import is_pretrained

    return budget.total_views if budget.views and not is_pretrained(run, place) else 0


def show_plan(planned: Plan, todo: Sequence[Run], place: Place) -> None:
    """Print what would be carried out, and how long it would take; of what has no data here, that it has none."""
    from bench.dry_run import absent_lines, estimate_lines, plan_lines
    from protocols.check import absent

    missing = {run.folder(): absent(run, place.data) for run in todo}
    ready = [run for run in todo if not missing[run.folder()]]
    budgets = prepare(ready, place)
    for line in plan_lines(planned, ready, budgets, place):
        typer.echo(line)
    for line in absent_lines(todo, missing):
        typer.echo(line)
    for line in estimate_lines(ready, budgets, place):
        typer.echo(line)


def show_table(planned: Plan, runs: Path, to: Path | None) -> None:
    """Print the table of the grid's runs; write the whole report if there is news."""
    from results import report

    grid = [one.folder() for one in (*planned.done, *planned.todo)]
    report.show(runs, only=grid)
    if to:
        report.write(runs, to)
