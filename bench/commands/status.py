"""``bench status``: the state of runs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.echo import echo
from bench.format import duration
from bench.options import RUNS, Runs
from results.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from slurm.status import RunStatus, StatusOverview

REFRESH_INTERVAL_S = 30.0
"""Seconds between two updates; SLURM's daemons should not be queried more often."""

LISTED_STATES = ("running", "requeued", "queued", "failed", "unreadable", "unfinished", "unknown")
"""States whose runs are listed, in this order; runs that are done are only counted."""

SILENT_AFTER_S = 120
"""The age of a heartbeat is shown when it exceeds this."""


def status(
    *,
    runs: Runs = RUNS,
    watch: Annotated[bool, typer.Option("--watch", help="Update until nothing is queued or running.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two updates.")] = REFRESH_INTERVAL_S,
    as_json: Annotated[bool, typer.Option("--json", help="All runs, including those done, as JSON.")] = False,
) -> None:
    """Show the state of runs: done, running, queued, requeued, or failed with a reason and a remedy.

    Works for runs of bench run and of bench submit, at any time, from any machine that sees the runs folder.
    """
    from results.store import require_runs_folder
    from slurm.status import read_status

    require_runs_folder(runs)
    if watch:
        show_live(runs, every)
    elif as_json:
        echo(json.dumps(read_status(runs).to_json(), indent=1))
    else:
        echo("\n".join(lines(read_status(runs))))


def show_live(runs: Path, every: float) -> None:
    """Show a table that updates, or lines where there is no terminal, until nothing is queued or running."""
    from rich.console import Console
    from rich.live import Live

    from slurm.status import read_status

    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            overview = read_status(runs)
            if console.is_terminal:
                live.update(table(overview), refresh=True)
            else:
                echo("\n".join(lines(overview)))
            if not overview.may_change():
                return
            time.sleep(every)


def lines(overview: StatusOverview) -> Iterator[str]:
    """The summary and a line for each listed run, for output that is not a terminal."""
    yield summary(overview)
    for run in runs_to_list(overview):
        job = f"job {run.job}" if run.job else ""
        yield "  ".join(part for part in (f"{run.state:10}", run.run, job, details(run)) if part)


def table(overview: StatusOverview) -> Table:
    """The summary and a row for each listed run, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    def text(words: str) -> Text:
        return Text(printable(words))

    rows = Table(title=text(summary(overview)), title_justify="left", box=None, pad_edge=False)
    for name in ("state", "run", "job", ""):
        rows.add_column(name, no_wrap=name != "", overflow="ellipsis")
    for run in runs_to_list(overview):
        rows.add_row(*map(text, (run.state, run.run, run.job, details(run))))
    return rows


def runs_to_list(overview: StatusOverview) -> list[RunStatus]:
    """The runs that are listed, ordered by their state."""
    runs = (run for run in overview.runs if run.state in LISTED_STATES)
    return sorted(runs, key=lambda run: LISTED_STATES.index(run.state))


def summary(overview: StatusOverview) -> str:
    """The number of runs in each state, and the SLURM commands that failed."""
    from slurm.status import RUN_STATES

    parts = [f"{count} {state}" for state in RUN_STATES if (count := overview.count(state))]
    errors = "".join(f" ({command} failed: {message})" for command, message in overview.query_errors.items())
    return f"{len(overview.runs)} runs: {', '.join(parts) or 'none'}{errors}"


def details(run: RunStatus) -> str:
    """Reason, progress and remedy of a run."""
    return "; ".join(part for part in (run.reason, progress(run.heartbeat), run.remedy) if part)


def progress(heartbeat: dict[str, Any]) -> str:
    """Stage, note, speed and time left of a run, from its last heartbeat."""
    if not heartbeat:
        return ""
    rate, left = heartbeat["per_second"], heartbeat["seconds_left"]
    age = time.time() - heartbeat["time"]
    parts = [
        f"{heartbeat['stage']} {100 * heartbeat['done'] / max(heartbeat['total'], 1):.0f} %",
        heartbeat["note"],
        f"{rate:,.0f} views/s" if rate and heartbeat["stage"] == "pretrain" else "",
        f"{duration(left)} left" if left else "",
        f"last heartbeat {duration(age)} ago" if age > SILENT_AFTER_S else "",
    ]
    return ", ".join(part for part in parts if part)
