"""``bench report``: tables and figures of what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.options import RUNS, Runs


def report(
    *,
    runs: Runs = RUNS,
    to: Annotated[Path, typer.Option(help="Folder that the files go to.")] = Path("report"),
    published: Annotated[
        bool, typer.Option("--published", help="Put published numbers beside the measured ones.")
    ] = False,
) -> None:
    """Print the table, and write tables, figures and a page to a folder; works on a half-finished grid too."""
    from results.report import display, write

    display(write(runs, to, published=published))
    typer.echo(f"written to {to}")
