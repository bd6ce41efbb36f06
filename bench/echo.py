"""Prints lines of text, whoever wrote it."""

from __future__ import annotations

import typer

from results.printable import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to standard output or error; control characters in them are written out."""
    typer.echo(printable(text, keep="\n\t"), err=err)


def print_progress(task: str, done: int, total: int) -> None:
    """Print the progress of a long task on one line that is updated."""
    typer.echo(f"\r{printable(task)}: {done:,} of {total:,}", err=True, nl=done == total)
