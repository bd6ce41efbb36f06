"""``bench data``: make a data set ready before runs need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.options import DATA, Data
from results.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.datasets.base import Dataset


def data(
    names: Annotated[list[str], typer.Argument(metavar="DATASET…", help="Names, see: bench list datasets")],
    *,
    data: Data = DATA,
) -> None:
    """Download, verify and decode data sets, once, so that no run has to.

    What is there already is only verified. Without internet, put the files in their place and run this to check them.
    """
    for name in names:
        typer.echo(describe(ready(name, data)))


def ready(name: str, data: Path) -> Dataset:
    """Make a data set ready.

    Raises:
        RequestError: it cannot be had.
    """
    from protocols.datasets.load import prepare

    try:
        return prepare(name, data, progress=say)
    except OSError as error:
        raise DataMissing(str(error), hint=f"put its files under {data}, or point --data to them") from error


def say(work: str, done: int, total: int) -> None:
    """Report long work, in a line that is written over."""
    typer.echo(f"\r{work}: {done:,} of {total:,}", err=True, nl=done == total)


def describe(dataset: Dataset) -> str:
    """A data set in a line."""
    unlabeled = f"{len(dataset.unlabeled):,} unlabelled + " if dataset.unlabeled is not None else ""
    sizes = f"{unlabeled}{len(dataset.train):,} training + {len(dataset.test):,} test images"
    return f"{dataset.name}: {sizes} of {dataset.side}×{dataset.side}, {len(dataset.classes)} classes"
