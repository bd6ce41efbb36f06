"""``bench tune``: the same number of trials for every method, on held-out training images; writes a tuned protocol."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.echo import echo
from bench.execution import check_before_work, execute_runs
from bench.format import duration
from bench.options import GridOptions, SpaceFile, with_grid_options
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Plan, Request
    from protocols.spec.run import Run
    from protocols.tune.search import PlannedSearch
    from protocols.tune.space import Spaces

EXAMPLES = """\b
Examples:
  bench tune --methods simclr,byol,relational --datasets cifar10 --trials 16
      16 trials of each, trial 0 being the protocol's own settings; writes tuned-cifar10-conv4-quick-16.toml
  bench run --protocol tuned-cifar10-conv4-quick-16.toml --seeds 10-14
      measures what was chosen on the test split, with seeds that no trial has used
  bench run --methods simclr,byol,relational,random --datasets cifar10 --seeds 10-14
      the default settings with the same seeds; bench report puts both side by side
  bench run --methods simclr,byol,relational --datasets cifar10 --tuned 16 --seeds 10-14
      the first two in one command
  bench tune --methods simclr,byol,relational --datasets cifar10 --trials 32
      16 more trials, and a new choice
  bench submit --trials 32 --methods simclr,byol,relational --datasets cifar10 --profile gpu
      the same trials as jobs of a cluster; bench tune with the same options then chooses
  bench tune --methods simclr,byol,mae --datasets cifar10 --flops 2e15 --budget 3e16flops
      equal compute for each method, of every trial and of all
  bench tune --methods simclr,byol --datasets cifar10 --trials 27 --halving 3
      27 trials with a ninth of the training budget, the best 9 with a third, the best 3 with all of it
  bench tune --methods simclr,byol --datasets cifar10 --trials 32 --sampler tpe
      each trial is drawn knowing the results of those before (Optuna)
  bench tune --methods ./mine.py,simclr --datasets shapes --space spaces.toml
      your own method, whose search space is its attribute SPACE, or stands in a file
"""

Trials = Annotated[int, typer.Option(min=2, help="Settings tried of each method, the protocol's own among them.")]


@with_grid_options
def tune(
    grid: GridOptions,
    *,
    trials: Trials = 16,
    space: SpaceFile = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="N[views|flops]",
            help="Instead of --trials: views or FLOPs for each method, as 2e6views, 1e16flops.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["sobol", "tpe"], typer.Option(help="What draws settings; tpe learns from earlier trials, by Optuna.")
    ] = "sobol",
    halving: Annotated[
        int | None,
        typer.Option(min=2, metavar="FACTOR", help="Begin with short trainings, and train the best of them longer."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default as many as this machine allows.")
    ] = None,
    per_gpu: Annotated[int, typer.Option(min=1, help="Runs at a time on each GPU, unless --jobs is given.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print spaces and plan, and an estimate of time.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to write the tuned protocol; only with one data set and one backbone."
        ),
    ] = None,
) -> None:
    """Tune methods with equal trials, and write a protocol with the settings that were chosen.

    Trials are ordinary runs on held_out:NAME, which trains on nine tenths of the training images and measures on the
    others; the test split is not read. With --sampler sobol the settings of trial i depend on space, method and i only.
    The one with the highest top-1 accuracy of the first evaluation is chosen, mean over --seeds (0 by default); ties go
    to the default.
    """
    from protocols.tune.search import plan_searches
    from protocols.tune.space import load_spaces

    if budget is not None and halving:
        raise RequestError(
            "--budget and --halving exclude each other", hint="give --trials; --dry-run says what they cost"
        )
    request, spaces = grid.request(), load_spaces(space)
    counts = trials if budget is None else trials_of_budget(budget, request, grid, spaces)
    plan_again = partial(
        plan_searches,
        request,
        grid.data,
        spaces,
        trials=counts,
        sampler=sampler,
        halving=halving,
        runs=grid.runs,
    )
    planned = plan_again()
    if to is not None and to.suffix != ".toml":
        raise RequestError(f"--to {to} does not end in .toml", hint="protocols are read from such files only")
    if to is not None and len(planned) > 1:
        raise RequestError("--to names one file, and there is one for each data set and backbone", hint="leave it out")
    if dry_run:
        print_search(planned, grid)
        return
    files = [to or default_file(one) for one in planned]
    failed = execute_searches(planned, plan_again, files, grid, grid.context(), jobs=jobs, per_gpu=per_gpu)
    for file in files:
        echo(f"measure them on the test split, with fresh seeds: bench run --protocol {file}")
    raise typer.Exit(1 if failed else 0)


def tune_first(
    grid: GridOptions,
    trials: int,
    space: Path | None,
    context: ExecutionContext,
    *,
    jobs: int | None,
    per_gpu: int,
    dry_run: bool,
) -> tuple[int, list[Request]]:
    """What ``bench run --tuned`` does first: tune, with the same options but for seeds, refinements and other data.

    Returns:
        How many trials failed, and the requests for the runs of the tuned protocols.

    Raises:
        RequestError: something is wrong with a trial, or with what follows; nothing was started.
        Exit: interrupted, or a dry run with trials that are not done.
    """
    from protocols.spec.grid import add_plugins, require_tuned
    from protocols.spec.protocol import Grid
    from protocols.tune.outcome import tuned_table
    from protocols.tune.search import plan_searches
    from protocols.tune.space import load_spaces

    if grid.limit:
        raise RequestError("--limit and --tuned exclude each other", hint="use bench tune --limit first")
    request = add_plugins(grid.request())
    of_trials = replace(request, seeds=(), refinements=(), evaluate_on=())
    plan_again = partial(plan_searches, of_trials, grid.data, load_spaces(space), trials=trials)
    planned = plan_again()
    for one in planned:
        require_tuned(tuned_table(one), [Grid(seeds=tuple(request.seeds))])
    files = [default_file(one).absolute() for one in planned]
    if dry_run and (plan_trials(planned, grid).todo or not all(file.is_file() for file in files)):
        print_search(planned, grid)
        echo("then, with fresh seeds, the runs of the tuned protocols")
        raise typer.Exit(0)
    failed = 0 if dry_run else execute_searches(planned, plan_again, files, grid, context, jobs=jobs, per_gpu=per_gpu)
    measured = replace(request, methods=(), datasets=(), backbones=(), epochs=None, views=None, flops=None, settings=())
    return failed, [replace(measured, protocol=str(file)) for file in files]


def execute_searches(
    planned: Sequence[PlannedSearch],
    plan_again: Callable[[], Sequence[PlannedSearch]],
    files: Sequence[Path],
    grid: GridOptions,
    context: ExecutionContext,
    *,
    jobs: int | None,
    per_gpu: int,
) -> int:
    """Execute the trials that are not done yet, choose among all, and write the tuned protocols.

    Args:
        planned: the searches.
        plan_again: plans them, knowing the results so far.
        files: of their tuned protocols.
        grid: the options of the command.
        context: where the trials are executed.
        jobs: runs at a time, see ``slurm.launch.launch``.
        per_gpu: runs at a time on each GPU.

    Returns:
        How many trials failed.

    Raises:
        RequestError: something is wrong with a trial, or none of a method has finished.
        Exit: interrupted, or ``--limit`` leaves trials for the next command.
    """
    from protocols.tune.search import store_searches
    from results.store import require_writable

    files = [file.absolute() for file in files]
    for file in files:
        require_replaceable(file)
        require_writable(file.parent, "--to")
    failed, attempted, limit = 0, set[str](), grid.limit
    while True:
        left = [run for run in trials_to_execute(planned, grid) if run.folder() not in attempted]
        todo = left[:limit]
        store = partial(store_searches, planned, grid.runs)
        try:
            failed += execute_runs(todo, context, jobs, per_gpu, force=grid.force, on_start=store)
        except KeyboardInterrupt:
            echo("bench: interrupted; the same command resumes", err=True)
            raise typer.Exit(130) from None
        later = sum(one.later for one in planned)
        if limit is not None and limit <= len(left) and (later or limit < len(left)):
            echo(f"{len(left) - limit + later:,} trials are left; the same command goes on, and chooses at the end")
            raise typer.Exit(1 if failed else 0)
        if not (later and todo):
            break
        attempted |= {run.folder() for run in todo}
        limit = None if limit is None else limit - len(todo)
        planned = plan_again()
    for one, file in zip(planned, files, strict=True):
        choose_and_write(one, grid.runs, file, grid.protocol)
    return failed


def require_replaceable(file: Path) -> None:
    """Check that a tuned protocol may be written to a path: there is nothing, or an earlier tuned protocol.

    Raises:
        RequestError: something else would be lost.
    """
    from protocols.spec.protocol import load

    if not os.path.lexists(file):
        return
    try:
        is_tuned = load(str(file)).tuned is not None
    except RequestError:
        is_tuned = False
    if not is_tuned:
        raise RequestError(f"{file} is no tuned protocol, and would be lost", hint="choose another --to FILE")


def plan_trials(planned: Sequence[PlannedSearch], grid: GridOptions) -> Plan:
    """The trials of some searches: those that are done, and those to execute."""
    from protocols.spec.grid import plan

    return plan([run for one in planned for run in one.runs], grid.runs, grid.data, force=grid.force)


def trials_to_execute(planned: Sequence[PlannedSearch], grid: GridOptions) -> list[Run]:
    """The trials that are not done; nor failed, where what followed was decided knowing that they did."""
    from results.store import read_run

    final = {run.folder() for one in planned if not one.repeats_failed and not grid.force for run in one.runs}
    todo = plan_trials(planned, grid).todo
    return [run for run in todo if run.folder() not in final or read_run(grid.runs / run.folder()).status != "failed"]


def trials_of_budget(budget: str, request: Request, grid: GridOptions, spaces: Spaces) -> dict[str, int]:
    """How many trials of each method a budget in views or FLOPs pays for, each trial at the cost of the default.

    Raises:
        RequestError: it is no number of views or FLOPs, or pays for fewer than two trials of a method.
    """
    from protocols.tune.search import plan_searches

    amount, unit = parse_budget(budget)
    (first, *_) = plan_searches(request, grid.data, spaces, trials=1)
    runs = [run for run in first.runs if run.seed == first.search.seeds[0]]
    budgets = check_before_work(runs, grid.context())
    counts = {}
    for run, whole in zip(runs, budgets, strict=True):
        cost = getattr(run.pretrain, unit) or cost_of_pretraining(run, whole, unit, grid.data)
        counts[run.method.name] = int(amount / (cost * len(first.search.seeds)))
        if counts[run.method.name] < 2:
            raise RequestError(
                f"--budget {budget} is less than two trials of {run.method.name}, of {cost:,.4g} {unit} each",
                hint=f"give {rounded_up(2 * cost * len(first.search.seeds)):g}{unit} or more",
            )
    return counts


def parse_budget(text: str) -> tuple[float, str]:
    """A number above 0 and its unit, ``views`` or ``flops``, from ``2e6views`` or ``1e16 flops``; views without a unit.

    Raises:
        RequestError: it is anything else.
    """
    written = text.strip().lower()
    match = re.match(r"[-+]?[\d_.]+(?:e[-+]?\d+)?", written)
    number = match[0] if match else ""
    unit = written.removeprefix(number).strip()
    try:
        amount = float(number)
    except ValueError:
        problem = f"{number!r} is no number" if number else "it does not begin with a number"
    else:
        if unit not in ("", "views", "flops"):
            problem = f"{unit!r} is neither views nor flops"
        elif amount <= 0:
            problem = "it must be above 0"
        elif amount == math.inf:
            problem = "it is too large"
        else:
            return amount, unit or "views"
    raise RequestError(f"--budget {text!r}: {problem}", hint="write views or FLOPs like 2e6views or 1e16flops")


def rounded_up(amount: float) -> float:
    """The next number of three digits."""
    step: float = 10.0 ** (math.floor(math.log10(amount)) - 2)
    return math.ceil(amount / step) * step


def cost_of_pretraining(run: Run, budget: Budget, unit: str, data: Path) -> float:
    """Views or FLOPs of a pretraining."""
    from protocols.datasets.load import load_dataset
    from protocols.pretrain.build import count_flops_per_view

    if unit == "views":
        return budget.total_views
    return budget.total_views * count_flops_per_view(run, load_dataset(run.dataset.name, data))


def print_search(planned: Sequence[PlannedSearch], grid: GridOptions) -> None:
    """Print spaces, trials and an estimate of the time; the default setting of a method stands for all its trials."""
    from bench.dry_run import budget_in_words, duration_of, run_line

    todo, context = trials_to_execute(planned, grid), grid.context()
    for one in planned[:1]:
        print_spaces(one)
    runs = [run for one in planned for run in one.runs]
    echo(f"{len(runs) - len(todo):,} trials done, {len(todo):,} to execute")
    budgets = dict(zip([run.folder() for run in runs], check_before_work(runs, context), strict=True))
    total, left = 0.0, {run.folder() for run in todo}
    for one in planned:
        for method in one.search.methods:
            of_method = [run for run in one.runs if run.method.name == method]
            default, budget = of_method[0], budgets[of_method[0].folder()]
            waiting = [budgets[run.folder()] for run in of_method if run.folder() in left]
            seconds = duration_of(default, budget, context)
            total += seconds * sum(each.total_views for each in waiting) / budget.total_views
            line = run_line(default, budget_in_words(budget))
            echo(f"{line} × {len(waiting)} trials of {method}: {duration(seconds)} each")
    later = sum(one.later for one in planned)
    if later:
        echo(f"at most {later:,} more follow from their results; their time is not in what follows")
    for one in planned:
        print_rounds(one)
    echo(f"about {duration(total)} of pretraining in all, on this machine, estimated from a few steps of each method")


def print_rounds(planned: PlannedSearch) -> None:
    """Print the rounds of successive halving, if that is used."""
    from protocols.tune.halving import cost_of, rounds_of

    factor = planned.search.halving
    for method, one in planned.search.methods.items():
        rounds = [f"{count} with 1/{divisor} of the budget" for count, divisor in rounds_of(len(one.trials), factor)]
        if factor:
            cost = cost_of(len(one.trials), factor)
            echo(f"{method}: {', then '.join(rounds)}; together {cost:.3g} times a whole training")


def choose_and_write(planned: PlannedSearch, runs: Path, file: Path, base: str) -> None:
    """Choose a trial of every method, write the tuned protocol, and say what was chosen.

    Raises:
        RequestError: no trial of a method has finished.
    """
    from protocols.spec.labels import format_value
    from protocols.tune.outcome import chosen_trials, tuned_protocol
    from results.store import write_atomically
    from results.tuning import describe_edges, trial_scores

    search, scores = planned.search, trial_scores(planned.search, runs)
    chosen = chosen_trials(scores)
    text = tuned_protocol(planned, chosen, to=file, base=base)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, partial(Path.write_text, data=text, encoding="utf-8"))
    echo(f"{search.dataset} {search.backbone} under {search.protocol}, {search.evaluation} on held-out images:")
    for method, index in chosen.items():
        one, best, default = search.methods[method], scores[method][index], scores[method][0]
        setting = ", ".join(f"{key}={format_value(value)}" for key, value in one.trials[index].setting.items())
        base_score = "failed" if default is None else f"{default:.2f}"
        echo(f"  {method}: {best:.2f} (default {base_score}), trial {index}: {setting or 'the default'}")
        for sentence in describe_edges(one, index):
            echo(f"    {sentence}")


def default_file(planned: PlannedSearch) -> Path:
    """``tuned-<data set>-<backbone>-<protocol>-<trials>[-tpe][-halved<factor>].toml`` in the working directory."""
    from protocols.spec.run import file_name
    from protocols.tune.outcome import tuned_table

    search, trials = planned.search, str(tuned_table(planned).trials)
    sampler = [] if search.sampler == "sobol" else [search.sampler]
    halving = [f"halved{search.halving}"] if search.halving else []
    words = (search.dataset, search.backbone, planned.protocol.name, trials, *sampler, *halving)
    return Path(file_name("tuned", *words) + ".toml")


def print_spaces(planned: PlannedSearch) -> None:
    """Print the search space of every method."""
    for method, one in planned.search.methods.items():
        texts = [f"{target} {scale} {values}" for target, table in one.space.items() for scale, values in table.items()]
        echo(f"{method}: {'; '.join(texts)}")
    sizes = {method: len(one.space) for method, one in planned.search.methods.items()}
    if len({*sizes.values()}) > 1:
        words = ", ".join(f"{method} {size}" for method, size in sizes.items())
        echo(f"spaces differ in their number of dimensions: {words}")
