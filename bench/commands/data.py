"""``bench data``: download, verify and decode data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.completion import plugin_names
from bench.echo import echo, print_progress
from bench.options import DATA, Data
from results.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.datasets.base import Dataset


def data(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET…", help="Names, see: bench list datasets", autocompletion=plugin_names("datasets")
        ),
    ],
    *,
    data: Data = DATA,
) -> None:
    """Download, verify and decode data sets, once, so that no run has to.

    Files that are there already are only verified. Without internet, copy the files into the data folder and run this
    to check them.
    """
    for name in names:
        echo(describe(fetch_dataset(name, data)))


def fetch_dataset(name: str, data: Path) -> Dataset:
    """Download, verify and decode a data set.

    Raises:
        DataMissing: it cannot be downloaded, or is damaged.
        RequestError: it does not exist.
    """
    from protocols.datasets.load import prepare_dataset

    try:
        return prepare_dataset(name, data, progress=print_progress)
    except OSError as error:
        raise DataMissing(str(error), hint=f"put its files under {data}, or point --data to them") from error


def describe(dataset: Dataset) -> str:
    """Numbers of images and classes of a data set, on one line."""
    unlabeled = f"{len(dataset.unlabeled):,} unlabelled + " if dataset.unlabeled is not None else ""
    sizes = f"{unlabeled}{len(dataset.train):,} training + {len(dataset.test):,} test images"
    return f"{dataset.name}: {sizes} of {dataset.side}×{dataset.side}, {len(dataset.classes)} classes"
