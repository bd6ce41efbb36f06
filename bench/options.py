"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[Path, typer.Option("--runs", envvar="BENCH_RUNS", help="Folder of the runs.")]
Data = Annotated[Path, typer.Option("--data", envvar="BENCH_DATA", help="Folder of the data sets.")]

RUNS = Path("runs")
DATA = Path("data")
