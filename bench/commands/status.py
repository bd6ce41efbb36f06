"""``bench status``: how runs get on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.format import duration
from bench.options import RUNS, Runs
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from slurm.status import Overview, State

PERIOD = 30.0
"""Seconds between two looks: SLURM's daemons do not like to be asked more often."""

SHOWN = ("running", "requeued", "queued", "failed", "unfinished", "unknown")
"""States whose runs are listed, in this order; those that are done are counted."""


def status(
    *,
    runs: Runs = RUNS,
    watch: Annotated[bool, typer.Option("--watch", help="Look again, until nothing is queued or running.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = PERIOD,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; every run, also what is done.")] = False,
) -> None:
    """Show how runs get on: done, running, queued, requeued, or failed with a reason and a remedy.

    Works for runs of bench run and of bench submit, at any time, from any machine that sees the runs folder.
    """
    from slurm.status import overview

    if not runs.is_dir():
        raise RequestError(f"no runs folder {runs}", hint="point --runs to it")
    if watch:
        follow(runs, every)
    elif as_json:
        typer.echo(json.dumps(as_table(overview(runs)), indent=1))
    else:
        for line in lines(overview(runs)):
            typer.echo(line)


def follow(runs: Path, every: float) -> None:
    """Show a table that renews itself, or lines where there is no terminal, until nothing is queued or running."""
    from rich.console import Console
    from rich.live import Live

    from slurm.status import overview

    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            now = overview(runs)
            if console.is_terminal:
                live.update(table(now), refresh=True)
            else:
                typer.echo("\n".join(lines(now)))
            if not any(now.count(name) for name in ("queued", "requeued", "running", "unknown")):
                return
            time.sleep(every)


def as_table(now: Overview) -> dict[str, Any]:
    """All of it, for programs."""
    from slurm.status import NAMES

    counts = {name: now.count(name) for name in NAMES}
    return {"counts": counts, "runs": [asdict(state) for state in now.states], "silent": now.silent}


def lines(now: Overview) -> Iterator[str]:
    """All of it, for people without a terminal."""
    yield summary(now)
    for state in listed(now):
        job = f"job {state.job}" if state.job else ""
        yield "  ".join(part for part in (f"{state.state:10}", state.run, job, words(state)) if part)


def table(now: Overview) -> Table:
    """All of it, for people with a terminal; what fits in it."""
    from rich.table import Table

    made = Table(title=summary(now), title_justify="left", box=None, pad_edge=False)
    for name in ("state", "run", "job", ""):
        made.add_column(name, no_wrap=name != "", overflow="ellipsis")
    for state in listed(now):
        made.add_row(state.state, state.run, state.job, words(state))
    return made


def listed(now: Overview) -> list[State]:
    """The runs that are worth a line."""
    return sorted((state for state in now.states if state.state in SHOWN), key=lambda state: SHOWN.index(state.state))


def summary(now: Overview) -> str:
    """All of it in a line."""
    from slurm.status import NAMES

    parts = [f"{count} {name}" for name in NAMES if (count := now.count(name))]
    silent = "".join(f" ({command} gives no answer: {why})" for command, why in now.silent.items())
    return f"{len(now.states)} runs: {', '.join(parts) or 'none'}{silent}"


def words(state: State) -> str:
    """What there is to say about a run."""
    return "; ".join(part for part in (state.reason, progress(state.beat), state.remedy) if part)


def progress(beat: dict[str, Any]) -> str:
    """How far a run is, by its last heartbeat."""
    if not beat:
        return ""
    rate, left = beat["per_second"], beat["seconds_left"]
    parts = [
        f"{beat['stage']} {100 * beat['done'] / max(beat['total'], 1):.0f} %",
        beat["note"],
        f"{rate:,.0f} views/s" if rate and beat["stage"] == "pretrain" else "",
        f"{duration(left)} left" if left else "",
        f"silent for {duration(age)}" if (age := time.time() - beat["time"]) > 120 else "",
    ]
    return ", ".join(part for part in parts if part)
