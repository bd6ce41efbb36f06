"""Loads and validates data sets by name. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protocols.spec.plugins import dataset_source
from protocols.spec.resolve import dataset_digest
from results.errors import BrokenPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from protocols.datasets.base import Dataset, Progress, Split

MAX_CACHED = 2
"""Data sets that stay in memory for the next run of the process: one to pretrain and one to evaluate on."""

_cache: dict[tuple[str, Path], Dataset] = {}


def require(names: Iterable[str], root: Path) -> None:
    """Check that data sets are on this machine, by the names of their files only.

    Raises:
        DataMissing: a data set is missing.
        RequestError: a data set does not exist.
    """
    for name in names:
        dataset_source(name, root).require()


def prepare_dataset(name: str, root: Path, *, progress: Progress | None = None) -> Dataset:
    """Download a data set if it is missing, verify it, and decode its images for later runs.

    Raises:
        OSError: it cannot be downloaded, or a downloaded file is damaged.
        DataMissing: a file is damaged.
        RequestError: it does not exist.
    """
    source = dataset_source(name, root)
    if source.missing():
        source.download()
    return load_dataset(name, root, progress=progress)


def load_dataset(name: str, root: Path, *, progress: Progress | None = None) -> Dataset:
    """Load and check a data set; the last two stay in memory, so that the runs of a process share them.

    Args:
        name: as on the command line.
        root: folder that holds the data sets of this machine.
        progress: called with the progress of long tasks.

    Raises:
        DataMissing: it is missing or damaged.
        RequestError: it does not exist.
        BrokenPlugin: it violates the contract of ``Dataset``.
    """
    key = (name, root.resolve())
    if key not in _cache:
        source = dataset_source(name, root)
        source.require()
        source.progress = progress
        for old in list(_cache)[: len(_cache) - MAX_CACHED + 1]:
            del _cache[old]
        dataset = source.load()
        validate(dataset)
        _cache[key] = dataset
    return _cache[key]


def clear_caches() -> None:
    """Forget what was read of data sets: in a notebook, files and plugins may have changed since the last call."""
    _cache.clear()
    dataset_digest.cache_clear()


def validate(dataset: Dataset) -> None:
    """Check that a data set follows the contract of ``Dataset``.

    Raises:
        BrokenPlugin: it does not.
    """
    splits = {"train": dataset.train, "test": dataset.test, "unlabeled": dataset.unlabeled}
    for name, split in splits.items():
        for complaint in contract_violations(split, dataset) if split is not None else ():
            raise BrokenPlugin(f"dataset {dataset.name!r}: {name} {complaint}")
    if min(dataset.std) <= 0:
        raise BrokenPlugin(f"dataset {dataset.name!r}: std {dataset.std} must be above 0")


def contract_violations(split: Split, dataset: Dataset) -> Iterator[str]:
    """Violations of the contract by a split."""
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
