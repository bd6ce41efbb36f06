"""``bench run``: execute a grid of runs, and show the table."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.echo import echo, print_progress
from bench.execution import check_before_work, execute_runs
from bench.options import GridOptions, SpaceFile, with_grid_options
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Plan, Request
    from protocols.spec.run import Run

EXAMPLES = """\b
Examples:
  bench run
      the protocol's own grid: five methods, three seeds
  bench run --methods relational,simclr --datasets cifar10,stl10
  bench run --methods simclr --seeds 0-4 --set simclr.temperature=0.2
  bench run --methods 'relational[views=4],relational[views=8],simclr'
      several settings of one method, by the labels that tables print
  bench run --methods simclr --datasets cifar10 --evaluate-on cifar10,cifar100
      pretrain once, evaluate on both; runs that are pretrained already are only evaluated
  bench run --methods simclr,byol --refine graph,neighbour_mean
      evaluate without refinement, and again after each refinement
  bench run --methods ./mine.py,simclr,random,supervised
      your own method beside the known ones
  bench run --methods simclr --plugins ./mine.py --evaluations linear,mine
      a file that registers an evaluation, an optimizer, … (see CONTRIBUTING.md)
  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m bench run --methods simclr --datasets cifar10
      the same command on two nodes; sixteen GPUs share each run
  bench run --methods simclr,byol --datasets cifar10 --tuned 16
      the best of 16 settings of each, chosen on held-out training images, then measured with fresh seeds (bench tune)
  bench run --protocol relational2020 --datasets cifar10 --epochs 10 --dry-run
  bench run --protocol relational2020-table1 --datasets cifar10,cifar100
      a published table, or the part of it whose data are on this machine; runs that it shares with other tables
      are executed once
"""


@with_grid_options
def run(
    grid: GridOptions,
    *,
    tuned: Annotated[
        int | None,
        typer.Option(min=2, metavar="TRIALS", help="Tune first, as bench tune --trials; measure what is chosen."),
    ] = None,
    space: SpaceFile = None,
    records: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar="RECORD", help="Repeat the run of a record.json or run folder; may be repeated."
        ),
    ] = [],  # noqa: B006 - typer copies it
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Execute the plugins that a record of --from brings.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default as many as this machine allows.")
    ] = None,
    per_gpu: Annotated[int, typer.Option(min=1, help="Runs at a time on each GPU, unless --jobs is given.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate of the time.")] = False,
    to: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
) -> None:
    """Compare methods: execute the runs of a grid that are not done yet, and show the table.

    The protocol decides what the options leave open. The same command again resumes interrupted runs.
    """
    if space and not tuned:
        raise RequestError("--space is for tuning", hint="add --tuned TRIALS")
    if records and (tuned or not grid.request().is_blank):
        raise RequestError("--from repeats a run as it was", hint="leave out the options that choose or change runs")

    folder = to.absolute()

    def execute(context: ExecutionContext) -> None:
        failed, requests = 0, [] if records else [grid.request()]
        if tuned:
            from bench.commands.tune import tune_first

            failed, requests = tune_first(grid, tuned, space, context, jobs=jobs, per_gpu=per_gpu, dry_run=dry_run)
        repeated: list[Run] = []
        if records:
            from protocols.spec.repeat import run_of_record

            repeated = [run_of_record(path, grid.runs, allow_code=allow_code, show=echo) for path in records]
        failed += run_grid(requests, grid, context, jobs, per_gpu, dry_run=dry_run, to=folder, repeated=repeated)
        raise typer.Exit(1 if failed else 0)

    if "RANK" in os.environ or "SLURM_PROCID" in os.environ:
        from protocols.pretrain.launched import launched_rank, lead, serve_orders
        from protocols.pretrain.worker import run_follower

        this = launched_rank(grid.ranks)
        if this and this.rank:
            serve_orders(this, run_follower)
            return
        if this:
            with lead(this):
                execute(replace(grid.context(), ranks=this.ranks, launched=True))
            return
    execute(grid.context())


def run_grid(
    requests: Sequence[Request],
    grid: GridOptions,
    context: ExecutionContext,
    jobs: int | None,
    per_gpu: int,
    *,
    dry_run: bool,
    to: Path,
    repeated: Sequence[Run] = (),
) -> int:
    """Execute the runs of some requests that are not done yet in ``context``, and show the table; see :func:`run`.

    Args:
        requests: what is asked for.
        grid: the options of the command line.
        context: folders and device.
        jobs: runs at a time.
        per_gpu: runs at a time on each GPU.
        dry_run: print the plan only.
        to: folder of the report.
        repeated: further runs, which no request names.

    Returns:
        How many failed.

    Raises:
        Exit: with 1 if there is nothing to show, 130 if interrupted.
    """
    from protocols.spec.grid import expand, plan
    from protocols.tune.outcome import store_tuned_runs
    from results.store import clear_finished

    expanded = [(request, expand(request, grid.data, print_progress)) for request in requests]
    asked = [*repeated, *(one for _, runs in expanded for one in runs)]
    planned = plan(asked, grid.runs, grid.data, force=grid.force)
    todo = planned.todo[: grid.limit]
    if dry_run:
        print_plan(planned, todo, context)
        return 0
    done = [grid.runs / run.folder() for run in planned.done]
    for folder in done:
        clear_finished(folder)

    def prepare() -> None:
        if todo:
            from results.report import prepare_folder

            prepare_folder(to)
        for request, runs in expanded:
            store_tuned_runs(request, runs, grid.runs)

    try:
        failed = execute_runs(todo, context, jobs, per_gpu, force=grid.force, on_start=prepare)
    except KeyboardInterrupt:
        echo("bench: interrupted; the same command resumes", err=True)
        raise typer.Exit(130) from None
    try:
        print_table(planned, grid.runs, to if todo or is_older(to, done) else None)
    except RequestError as error:
        if not todo:
            raise
        typer.echo(f"bench: the runs are stored, and there is no report: {error}", err=True)
        raise typer.Exit(1) from None
    return failed


def is_older(report: Path, done: Sequence[Path]) -> bool:
    """Whether a report lacks its page, which is written last, or a run was finished after it: its writer was killed."""
    from results.store import RECORD, modified

    page, _ = modified(report / "index.html")
    return any(modified(folder / RECORD)[0] > page for folder in done)


def print_plan(planned: Plan, todo: Sequence[Run], context: ExecutionContext) -> None:
    """Print what would be executed and how long it would take, and which runs lack their data."""
    from bench.dry_run import estimate_lines, missing_data_lines, plan_lines

    if not todo:
        echo("\n".join(plan_lines(planned, (), (), context)))
        return
    from protocols.check.preflight import missing_datasets

    missing = {run.folder(): missing_datasets(run, context.data) for run in todo}
    ready = [run for run in todo if not missing[run.folder()]]
    budgets = check_before_work(ready, context)
    for line in plan_lines(planned, ready, budgets, context):
        echo(line)
    for line in missing_data_lines(todo, missing):
        echo(line)
    for line in estimate_lines(ready, budgets, context):
        echo(line)


def print_table(planned: Plan, runs: Path, to: Path | None) -> None:
    """Print the table of the grid's runs; write the whole report if a folder is given."""
    from results import report

    folders = [one.folder() for one in (*planned.done, *planned.todo)]
    report.show(runs, only=folders)
    if to:
        report.write(runs, to)
