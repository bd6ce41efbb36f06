"""``bench submit``: carry out a grid of runs on a SLURM cluster."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
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
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Request
    from protocols.spec.run import Run
    from slurm.pack import Batch
    from slurm.profile import Profile, Profiles

EXAMPLES = """\b
Examples:
  bench submit --methods relational,simclr --datasets cifar10 --seeds 0-4 --profile gpu --partition main
  bench submit --datasets digits --time 1h --cpus 2 --minutes-per-job 30m --dry-run
      print what sbatch would be given
  bench submit --profile mycluster.toml --sbatch nice=100 --sbatch exclusive
  bench submit --retry failed --profile mycluster.toml --mem 16G
      again what failed, with more memory
"""


def submit(
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
    limit: Limit = None,
    force: Force = False,
    retry: Annotated[
        str, typer.Option(metavar="WHICH", help="In place of a grid: failed, timeout or all that ended badly.")
    ] = "",
    profile: Annotated[str, typer.Option(help="TOML file with what jobs ask for, or: cpu, gpu, preemptible.")] = "",
    time: Annotated[str | None, typer.Option(help="Limit of a job: 90m, 1h30, 1-00:00:00.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition, or several by commas.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of a job.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of a job.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of a job: 8G, 800M.")] = None,
    account: Annotated[str | None, typer.Option(help="Who pays.")] = None,
    qos: Annotated[str | None, typer.Option(help="Quality of service.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Features of the node.")] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Jobs at a time, at most.")] = None,
    array: Annotated[bool | None, typer.Option("--array/--no-array", help="Use job arrays; the default.")] = None,
    runs_per_job: Annotated[int | None, typer.Option(min=1, help="Runs in a job.")] = None,
    minutes_per_job: Annotated[
        str | None, typer.Option(metavar="TIME", help="As many runs in a job as take about so long, by an estimate.")
    ] = None,
    per_gpu: Annotated[int | None, typer.Option(min=1, help="Runs at a time on each GPU of a job.")] = None,
    sbatch: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Any other option of sbatch; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    snapshot: Annotated[
        bool, typer.Option("--snapshot/--no-snapshot", help="Let jobs use a copy of the code as it is now.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what sbatch would be given.")] = False,
) -> None:
    """Send the runs of a grid that are not done yet to SLURM, and return at once.

    The words are those of bench run. Runs that are queued or running already are not sent twice. What is preempted or
    hits its time limit is requeued and carries on; see how it gets on with bench status.
    """
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import parse
    from slurm.profile import Profiles, extras, read
    from slurm.queue import require_slurm

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
    context = ExecutionContext(runs, data, device, plain, ranks)
    given = {
        "time": time,
        "partition": partition,
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
        "sbatch": extras(sbatch) or None,
    }
    profiles = Profiles(read(profile) if profile else {}, given)
    if not dry_run:
        require_slurm()
    chosen = again(retry, request, runs) if retry else grid(request, context, force=force)
    todo = (chosen if dry_run else not_sent(chosen, runs))[:limit]
    if not todo:
        typer.echo("nothing to submit")
        return
    require_gpus((profiles.of(run) for run in todo), ranks)
    budgets = prepare(todo, context, dry_run=dry_run)
    by_run = {run.folder(): budget for run, budget in zip(todo, budgets, strict=True)}
    made = batches_of(todo, profiles, lambda some: seconds_each(some, by_run, context))
    if dry_run:
        show_scripts(made, context)
    else:
        send(made, context, snapshot=snapshot, force=force)


def again(which: str, request: Request, runs: Path) -> list[Run]:
    """The submitted runs that ended badly in some way.

    Raises:
        RequestError: a grid is asked for too, or there is no such way.
    """
    from protocols.spec.run import Run
    from results.store import read_run
    from slurm.status import RETRIES, overview

    if not request.is_blank:
        raise RequestError("--retry takes the place of a grid", hint="leave --methods, --datasets, … out")
    if which not in RETRIES:
        raise RequestError(f"--retry {which}", hint=f"choose {', '.join(RETRIES)}")
    failed = [state.run for state in overview(runs).states if state.kind in RETRIES[which]]
    return [Run.from_config(read_run(runs / name).config or {}) for name in failed]


def grid(request: Request, context: ExecutionContext, *, force: bool) -> list[Run]:
    """The runs of a grid that are not done yet."""
    from protocols.spec.grid import expand, plan

    planned = plan(expand(request, context.data), context.runs, force=force)
    if planned.done:
        typer.echo(f"{len(planned.done)} runs done before")
    return list(planned.todo)


def not_sent(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Those that no job holds; a claim that an ended job has left on one is removed.

    Raises:
        RequestError: SLURM does not answer, so nobody knows.
    """
    from results.store import release
    from slurm.status import overview

    now = overview(folder)
    if "squeue" in now.silent:
        raise RequestError(f"SLURM does not answer: {now.silent['squeue']}", hint="try again later")
    held = {state.run for state in now.states if state.job in now.live() and state.state not in ("done", "failed")}
    left = [run for run in runs if run.folder() not in held]
    if len(left) < len(runs):
        typer.echo(f"{len(runs) - len(left)} runs queued or running already")
    for run in left:
        release(folder / run.folder(), now.live())
    return left


def prepare(todo: Sequence[Run], context: ExecutionContext, *, dry_run: bool) -> list[Budget]:
    """Make data sets ready, and find out what is wrong before any job is sent; returns how long each pretraining is.

    Raises:
        RequestError: something is.
    """
    from bench.commands.data import ready
    from protocols.preflight import check, datasets_of
    from protocols.spec.resolve import load_plugins
    from results.store import require_writable

    for run in {run.plugins: run for run in todo}.values():
        load_plugins(run)
    if not dry_run:
        require_writable(context.runs)
        for name in dict.fromkeys(name for run in todo for name in datasets_of(run)):
            ready(name, context.data)
    return check(todo, context.data)


def batches_of(
    todo: Sequence[Run], profiles: Profiles, estimate: Callable[[Sequence[Run]], list[float]]
) -> list[Batch]:
    """Runs in jobs, and jobs in arrays as large as this cluster allows."""
    from slurm.pack import batches
    from slurm.sbatch import MOST, Refused, largest_array

    try:
        largest = largest_array()
    except Refused:
        if shutil.which("sbatch"):
            raise
        largest = MOST
    return batches(todo, profiles, largest, estimate)


def require_gpus(profiles: Iterable[Profile], ranks: int) -> None:
    """A job with GPUs must have one for each rank.

    Raises:
        RequestError: it has fewer.
    """
    if any(0 < profile.gpus < ranks for profile in profiles):
        raise RequestError(f"--ranks {ranks} wants as many GPUs a job", hint=f"add --gpus {ranks}")


def seconds_each(runs: Sequence[Run], budgets: dict[str, Budget], context: ExecutionContext) -> list[float]:
    """An estimate of each run's time, by a few steps on this machine."""
    from protocols.speed.estimate import kind_of, seconds_by_kind

    known = dict(seconds_by_kind([(run, budgets[run.folder()]) for run in runs], context))
    return [known[kind_of(run)] for run in runs]


def show_scripts(made: Sequence[Batch], context: ExecutionContext) -> None:
    """Print what sbatch would be given, once for arrays that differ in nothing."""
    from slurm.submit import scripts

    same = Counter(scripts(made, context))
    for script, times in same.items():
        typer.echo(script)
        typer.echo(f"# {times} such array{'s' if times > 1 else ''}\n")
    typer.echo(f"# {counts(made)}; nothing was submitted")


def send(made: Sequence[Batch], context: ExecutionContext, *, snapshot: bool, force: bool) -> None:
    """Submit, and say what was submitted."""
    from results.store import discard
    from slurm.submit import submit as submit_all

    if force:
        for run in (run for batch in made for task in batch.tasks for run in task):
            discard(context.runs / run.folder())
    command = " ".join(["bench", *sys.argv[1:]])
    sent = submit_all(made, context, command=command, snapshot=snapshot)
    typer.echo(f"submitted {counts(made)}: {', '.join(array.job for array in sent.arrays)}")
    typer.echo("how it gets on: bench status --watch; take it back: bench cancel")


def counts(made: Sequence[Batch]) -> str:
    """How much it is."""
    jobs = sum(len(batch.tasks) for batch in made)
    runs = sum(len(task) for batch in made for task in batch.tasks)
    return f"{runs:,} runs in {jobs:,} jobs of {len(made):,} arrays"
