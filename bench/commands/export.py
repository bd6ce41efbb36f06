"""``bench export``: a run's backbone for other code."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from bench.completion import run_names
from bench.echo import echo
from bench.options import DATA, RUNS, Data, Runs

EXAMPLES = """\b
Examples:
  bench export shapes-conv4-simclr-s0 --to simclr
      simclr/model.safetensors, card.json, README.md, and model.py, which loads them without bench
  bench export runs/cifar10-timm_resnet18-byol-s0-1f2e3d4c --to byol --onnx
"""


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The run's folder, or any part of its name that no other has.",
            autocompletion=run_names,
        ),
    ],
    *,
    to: Annotated[Path, typer.Option(help="Folder to write to; a new one, or empty.")],
    runs: Runs = RUNS,
    data: Data = DATA,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file too; needs ssl-bench[onnx].")] = False,
) -> None:
    """Export the backbone of a finished run: weights, a card that says what it is, and code that loads it."""
    from bench.api import export as export_backbone

    for path in export_backbone(run, to, runs=runs, data=data, onnx=onnx):
        echo(str(path))
