"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[Path, typer.Option("--runs", envvar="BENCH_RUNS", help="Folder of the runs.")]
Data = Annotated[Path, typer.Option("--data", envvar="BENCH_DATA", help="Folder of the data sets.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Plain = Annotated[bool, typer.Option("--plain", help="Train by plain torch operations: slower, the same to rounding.")]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="TARGET.KEY=VALUE", help="Change one value; may be repeated.")
]

DEVICE = "auto"
RUNS = Path("runs")
DATA = Path("data")
