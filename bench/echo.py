"""Prints lines of text, whoever wrote it."""

from __future__ import annotations

import time

import typer

from bench.format import duration
from results.printable import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to standard output or error; control characters in them are written out."""
    typer.echo(printable(text, keep="\n\t"), err=err)


PROGRESS_WIDTH = 20
"""Characters for the time left; what an earlier, longer line has written there is overwritten."""

MIN_SECONDS = 5.0
"""Seconds that a task has to take before the time left is estimated."""

_started: dict[str, tuple[float, int]] = {}
"""By task, when its progress was printed first, and how much was done by then, such as before an interruption."""


def print_progress(task: str, done: int, total: int) -> None:
    """Print the progress of a long task, and the time left, on one line that is updated."""
    now = time.monotonic()
    start, first = _started.setdefault(task, (now, done))
    left = ""
    if now - start >= MIN_SECONDS and first < done < total:
        left = f", {duration((total - done) * (now - start) / (done - first))} left"
    if done == total:
        del _started[task]
    typer.echo(f"\r{printable(task)}: {done:,} of {total:,}{left:{PROGRESS_WIDTH}}", err=True, nl=done == total)
