"""``bench submit``: submit a grid of runs to a SLURM cluster."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from bench.echo import echo, print_progress
from bench.options import GridOptions, SpaceFile, with_grid_options
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from slurm.pack import ArrayBatch

EXAMPLES = """\b
Examples:
  bench submit --methods relational,simclr --datasets cifar10 --seeds 0-4 --profile gpu --partition main
  bench submit --datasets digits --time 1h --cpus 2 --minutes-per-job 30m --dry-run
      print the scripts that sbatch would receive
  bench submit --profile mycluster.toml --sbatch nice=100 --sbatch exclusive
  bench submit --methods simclr --datasets imagenet --nodes 2 --gpus 8 --cpus 64 --mem 400G --time 1-00:00:00
      sixteen GPUs on two nodes share each run (see slurm/README.md for what must be open between the nodes)
  bench submit --retry failed --profile mycluster.toml --mem 16G
      submit again what failed, with more memory
"""


@with_grid_options
def submit(
    grid: GridOptions,
    *,
    retry: Annotated[
        str, typer.Option(metavar="WHICH", help="Instead of a grid, submit again: failed, timeout or all.")
    ] = "",
    trials: Annotated[
        int | None, typer.Option(min=2, help="Instead of the grid, submit the trials of bench tune --trials.")
    ] = None,
    space: SpaceFile = None,
    profile: Annotated[str, typer.Option(help="TOML file with the resources of jobs, or: cpu, gpu, preemptible.")] = "",
    time: Annotated[str | None, typer.Option(help="Time limit of a job: 90m, 1h30, 1-00:00:00.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition, or several separated by commas.")] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nodes per job; with several, all their GPUs share each run, unless --ranks says less."
        ),
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(metavar="[TYPE:]N", help="GPUs per job, on each node: 2, or a100:2.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs per job, on each node.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory per job, on each node: 8G, 800M.")] = None,
    account: Annotated[str | None, typer.Option(help="Account to charge.")] = None,
    qos: Annotated[str | None, typer.Option(help="Quality of service.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Required features of the node.")] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Maximum number of jobs at a time.")] = None,
    array: Annotated[
        bool | None, typer.Option("--array/--no-array", help="Submit job arrays, or each job separately.")
    ] = None,
    runs_per_job: Annotated[int | None, typer.Option(min=1, help="Runs per job.")] = None,
    minutes_per_job: Annotated[
        str | None, typer.Option(metavar="TIME", help="Put as many runs in a job as take this long, by an estimate.")
    ] = None,
    per_gpu: Annotated[int | None, typer.Option(min=1, help="Runs at a time on each GPU of a job.")] = None,
    sbatch: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Any other option of sbatch; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    snapshot: Annotated[
        bool, typer.Option("--snapshot/--no-snapshot", help="Let jobs use a copy of the code made now.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the scripts that sbatch would receive.")] = False,
) -> None:
    """Submit the runs of a grid that are not done yet to SLURM, and return at once.

    The grid takes the same options as bench run. Runs that are queued or running already are not submitted twice. Jobs
    that are preempted or hit their time limit are requeued and resume; bench status shows their state.
    """
    from slurm.profile import Profiles, parse_sbatch_options, read_profile
    from slurm.queue import require_slurm
    from slurm.selection import exclude_active, select_retries
    from slurm.submit import plan_batches, render_scripts, submit_batches

    request, context, runs = grid.request(), grid.context(), grid.runs
    options = {
        "time": time,
        "partition": partition,
        "nodes": nodes,
        "gpus": gpus,
        "cpus": cpus,
        "mem": mem,
        "account": account,
        "qos": qos,
        "constraint": constraint,
        "max_parallel": max_parallel,
        "array": array,
        "runs_per_job": runs_per_job,
        "minutes_per_job": minutes_per_job,
        "per_gpu": per_gpu,
        "sbatch": parse_sbatch_options(sbatch) or None,
    }
    profiles = Profiles(read_profile(profile) if profile else {}, options)
    if not dry_run:
        require_slurm()
    if retry and not request.is_blank:
        raise RequestError("--retry takes the place of a grid", hint="leave --methods, --datasets, … out")
    todo, store = (select_retries(retry, runs), None) if retry else runs_to_submit(grid, trials, space)
    if not dry_run:
        selected, todo = todo, exclude_active(todo, runs)
        if len(todo) < len(selected):
            echo(f"{len(selected) - len(todo)} runs queued or running already")
    todo = todo[: grid.limit]
    profiles.require_ranks(todo, grid.ranks)
    batches = plan_batches(todo, prepare_runs(todo, context, dry_run=dry_run), profiles, context) if todo else []
    if store and not dry_run:
        store()
    if not todo:
        echo("nothing to submit")
        return
    if dry_run:
        for script, count in Counter(render_scripts(batches, context)).items():
            echo(f"{script}\n# {count} such array{'s' if count > 1 else ''}\n")
        echo(f"# {sizes(batches)}; nothing was submitted")
        return
    command = " ".join(["bench", *sys.argv[1:]])
    submission = submit_batches(batches, context, command=command, snapshot=snapshot, force=grid.force)
    echo(f"submitted {sizes(batches)}: {', '.join(array.job for array in submission.arrays)}")
    echo("show their state: bench status --watch; cancel them: bench cancel")


def runs_to_submit(grid: GridOptions, trials: int | None, space: Path | None) -> tuple[list[Run], Callable[[], None]]:
    """The runs of a grid, or the trials of ``bench tune`` with the same options, that are not done yet.

    Args:
        grid: the options.
        trials: of each method, if trials are wanted.
        space: file of search spaces.

    Returns:
        The runs, and a function that says in the runs folder which are trials, or belong to a tuned protocol.

    Raises:
        RequestError: a name, a key or a value is wrong.
    """
    from protocols.spec.grid import expand, plan
    from protocols.tune.outcome import store_tuned_runs
    from protocols.tune.search import plan_searches, store_searches
    from protocols.tune.space import load_spaces

    request = grid.request()
    if trials:
        searches = plan_searches(request, grid.data, load_spaces(space), trials=trials)
        asked, store = [run for one in searches for run in one.runs], partial(store_searches, searches, grid.runs)
    else:
        asked = expand(request, grid.data, print_progress)
        store = partial(store_tuned_runs, request, asked, grid.runs)
    planned = plan(asked, grid.runs, grid.data, force=grid.force)
    if planned.done:
        echo(f"{len(planned.done)} runs done before")
    return list(planned.todo), store


def prepare_runs(todo: Sequence[Run], context: ExecutionContext, *, dry_run: bool) -> list[Budget]:
    """Prepare the data sets and check the runs before any job is submitted.

    Returns:
        The length of the pretraining of each run.

    Raises:
        RequestError: a run cannot work, or the runs folder cannot be written to.
    """
    from bench.commands.data import fetch_dataset
    from protocols.check.preflight import check, dataset_names
    from protocols.spec.resolve import load_plugins
    from results.store import refuse_run_folder, require_writable

    for run in {run.plugins: run for run in todo}.values():
        load_plugins(run)
    if not dry_run:
        refuse_run_folder(context.runs)
        require_writable(context.runs)
        for name in dict.fromkeys(name for run in todo for name in dataset_names(run)):
            fetch_dataset(name, context.data)
    return check(todo, context.data)


def sizes(batches: Sequence[ArrayBatch]) -> str:
    """The number of runs, jobs and arrays."""
    jobs = sum(len(batch.tasks) for batch in batches)
    runs = sum(len(task) for batch in batches for task in batch.tasks)
    return f"{runs:,} runs in {jobs:,} jobs of {len(batches):,} arrays"
