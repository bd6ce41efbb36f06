"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Methods = Annotated[str, typer.Option(help="Names, labels or Python files, by commas.")]
Datasets = Annotated[str, typer.Option(help="Names, by commas.")]
Backbones = Annotated[str, typer.Option(help="Names, by commas; timm:NAME or timm:NAME@small.")]
Protocol = Annotated[str, typer.Option(help="Name, or a TOML file.")]
Seeds = Annotated[str, typer.Option(help="Trials: 0,1,2 or 0-9.")]
Evaluations = Annotated[str, typer.Option(help="Names or labels, by commas.")]
Refine = Annotated[str, typer.Option(help="Refinements to measure after, beside none: names or labels.")]
EvaluateOn = Annotated[
    str, typer.Option(help="Data sets to measure on, by commas; by default the one that is pretrained on.")
]
Epochs = Annotated[float | None, typer.Option(help="Budget in passes over the data set.")]
Views = Annotated[int | None, typer.Option(help="Budget in augmented images.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Carry out at most so many runs.")]
Force = Annotated[bool, typer.Option("--force", help="Begin again what is done.")]
Runs = Annotated[Path, typer.Option("--runs", envvar="BENCH_RUNS", help="Folder of the runs.")]
Data = Annotated[Path, typer.Option("--data", envvar="BENCH_DATA", help="Folder of the data sets.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Plain = Annotated[bool, typer.Option("--plain", help="Train by plain torch operations: slower, the same to rounding.")]
Ranks = Annotated[
    int,
    typer.Option(min=1, help="Processes that share each run's pretraining, with a GPU each or a share of the cores."),
]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="TARGET.KEY=VALUE", help="Change one value; may be repeated.")
]

PROTOCOL = "quick"
DEVICE = "auto"
RUNS = Path("runs")
DATA = Path("data")
