"""``bench run``: carry out a grid of runs, and show the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.options import DATA, RUNS, Data, Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.plan import Plan
    from protocols.budget import Budget
    from protocols.run import Run
    from protocols.runner import Place

EXAMPLES = """\b
Examples:
  bench run
      the protocol's own grid: five methods, three seeds
  bench run --methods relational,simclr --datasets cifar10,stl10
  bench run --methods simclr --seeds 0-4 --set simclr.temperature=0.2
  bench run --methods ./mine.py,simclr,random,supervised
      your own method beside the known ones
  bench run --protocol relational2020 --datasets cifar10 --epochs 10 --dry-run
"""

Settings = Annotated[
    list[str], typer.Option("--set", metavar="TARGET.KEY=VALUE", help="Change one value; may be repeated.")
]


def run(
    *,
    methods: Annotated[str, typer.Option(help="Names, or Python files, by commas.")] = "",
    datasets: Annotated[str, typer.Option(help="Names, by commas.")] = "",
    backbones: Annotated[str, typer.Option(help="Names, by commas; timm:NAME or timm:NAME@small.")] = "",
    protocol: Annotated[str, typer.Option(help="Name, or a TOML file.")] = "quick",
    seeds: Annotated[str, typer.Option(help="Trials: 0,1,2 or 0-9.")] = "",
    evaluations: Annotated[str, typer.Option(help="Names, by commas.")] = "",
    epochs: Annotated[float | None, typer.Option(help="Budget in passes over the data set.")] = None,
    views: Annotated[int | None, typer.Option(help="Budget in augmented images.")] = None,
    settings: Settings = [],  # noqa: B006 - typer copies it
    data: Data = DATA,
    runs: Runs = RUNS,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Carry out at most so many runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate of the time.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin again what is done.")] = False,
    to: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
) -> None:
    """Compare methods: carry out the runs of a grid that are not done yet, and show the table.

    What is not given is the protocol's choice. The same command again carries on where it stopped, if it did.
    """
    from bench.plan import Request, expand, parse_seeds, plan, words

    request = Request(
        methods=words(methods),
        datasets=words(datasets),
        backbones=words(backbones),
        seeds=parse_seeds(seeds),
        protocol=protocol,
        evaluations=words(evaluations),
        epochs=epochs,
        views=views,
        settings=settings,
    )
    planned = plan(expand(request, data), runs, force=force)
    todo = planned.todo[:limit]
    if dry_run:
        show_plan(planned, todo, runs, data, device)
        return
    failed = carry_out(todo, runs, data, device, force=force) if todo else 0
    show_table(planned, runs, to if todo else None)
    raise typer.Exit(1 if failed else 0)


def prepare(todo: Sequence[Run], runs: Path, data: Path, device: str) -> tuple[Place, list[Budget]]:
    """Find out what is wrong before any work starts.

    Raises:
        RequestError: something is.
    """
    from protocols.check import check
    from protocols.hardware import choose_device
    from protocols.runner import Place
    from results.store import require_writable

    choose_device(device)
    require_writable(runs)
    return Place(runs, data, device), check(todo, data)


def carry_out(todo: Sequence[Run], runs: Path, data: Path, device: str, *, force: bool) -> int:
    """Carry runs out one after the other; returns how many failed."""
    from bench.progress import monitor_for
    from results.store import discard
    from slurm.launch import inline

    place, budgets = prepare(todo, runs, data, device)
    if force:
        for one in todo:
            discard(runs / one.folder())
    with monitor_for(todo, budgets) as monitor:
        return sum(outcome.record is None for outcome in inline(todo, place, monitor))


def show_plan(planned: Plan, todo: Sequence[Run], runs: Path, data: Path, device: str) -> None:
    """Print what would be carried out, and how long it would take."""
    from bench.dry_run import estimate_lines, plan_lines

    if not todo:
        typer.echo(f"{len(planned.done)} runs done, nothing to carry out")
        return
    place, budgets = prepare(todo, runs, data, device)
    for line in plan_lines(planned, todo, budgets):
        typer.echo(line)
    for line in estimate_lines(todo, budgets, place):
        typer.echo(line)


def show_table(planned: Plan, runs: Path, to: Path | None) -> None:
    """Print the table of the grid's runs; write the whole report if there is news."""
    from results import report

    grid = [one.folder() for one in (*planned.done, *planned.todo)]
    report.show(runs, only=grid)
    if to:
        report.write(runs, to)
