"""From the name of a data set to its images, checked. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protocols.spec.plugins import dataset_source
from results.errors import BrokenPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from protocols.datasets.base import Dataset, Progress, Split

HELD = 2
"""Data sets kept in memory for the next run of the process: one to pretrain and one to evaluate on."""

_held: dict[tuple[str, Path], Dataset] = {}


def require(names: Iterable[str], root: Path) -> None:
    """Do nothing if all of these data sets are there; looks at names of files only, so it is quick.

    Raises:
        DataMissing: one of them is not there.
        RequestError: one of them does not exist.
    """
    for name in names:
        dataset_source(name, root).require()


def prepare_dataset(name: str, root: Path, *, progress: Progress | None = None) -> Dataset:
    """Download a data set if it is missing, verify it, and decode what later runs shall find decoded.

    Raises:
        OSError: there is no way to fetch it, or what came is damaged.
        DataMissing: what is there is damaged.
        RequestError: it does not exist.
    """
    source = dataset_source(name, root)
    if source.missing():
        source.download()
    return load_dataset(name, root, progress=progress)


def load_dataset(name: str, root: Path, *, progress: Progress | None = None) -> Dataset:
    """Load and check a data set; the last two stay in memory, so that the runs of one process share them.

    Args:
        name: as on the command line.
        root: folder that holds the data sets of this machine.
        progress: told of long work.

    Raises:
        DataMissing: it is not there, or damaged.
        RequestError: it does not exist.
        BrokenPlugin: what came does not keep the contract of ``Dataset``.
    """
    key = (name, root.resolve())
    if key not in _held:
        source = dataset_source(name, root)
        source.require()
        source.progress = progress
        for old in list(_held)[: len(_held) - HELD + 1]:
            del _held[old]
        dataset = source.load()
        validate(dataset)
        _held[key] = dataset
    return _held[key]


def validate(dataset: Dataset) -> None:
    """Do nothing if a data set keeps the contract.

    Raises:
        BrokenPlugin: it does not; the message says in what.
    """
    splits = {"train": dataset.train, "test": dataset.test, "unlabeled": dataset.unlabeled}
    for name, split in splits.items():
        for complaint in complaints(split, dataset) if split is not None else ():
            raise BrokenPlugin(f"dataset {dataset.name!r}: {name} {complaint}")
    if min(dataset.std) <= 0:
        raise BrokenPlugin(f"dataset {dataset.name!r}: std {dataset.std} must be above 0")


def complaints(split: Split, dataset: Dataset) -> Iterator[str]:
    """What is wrong with a split."""
    images, labels = split.images, split.labels
    lowest = -1 if split is dataset.unlabeled else 0
    if images.dtype != np.uint8:
        yield f"images are {images.dtype}, not uint8"
    if images.ndim != 4 or images.shape[1:] != (dataset.side, 3, dataset.side):
        yield f"images are {images.shape}, not (n, side, 3, side) with the side of the others"
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        yield f"labels are {labels.shape} {labels.dtype}, not ({len(images)},) int64"
    elif not len(images):
        yield "is empty"
    elif labels.min() < lowest or labels.max() >= len(dataset.classes):
        yield f"labels reach from {labels.min()} to {labels.max()}, with {len(dataset.classes)} classes"
