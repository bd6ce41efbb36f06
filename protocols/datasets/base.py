"""The contract between a data set and the harness. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from results.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, the number of images done, and their total."""


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Attributes:
        images: (n, height, 3, width) uint8; each row holds its channels one after another, so that
            resampling an axis is a matrix product. May be memory-mapped.
        labels: (n,) int64 in [0, classes); -1 where unknown.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Dataset:
    """A data set, loaded.

    Attributes:
        name: as on the command line.
        classes: names of the classes, by label.
        mean: of each channel in [0, 1], for normalisation.
        std: of each channel in [0, 1], for normalisation.
        train: labelled images for training; evaluations fit on these.
        test: labelled images that evaluations are scored on.
        unlabeled: images to pretrain on instead of ``train``, where the data set has any.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Split
    test: Split
    unlabeled: Split | None = None

    @property
    def pretrain(self) -> Split:
        """The images that self-supervised methods train on."""
        return self.train if self.unlabeled is None else self.unlabeled

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.train.images.shape[1])


class Source:
    """Loads, downloads and checks a data set.

    Args:
        name: as on the command line, with the argument after a colon: ``folder:PATH``.
        root: folder that holds the data sets of this machine.

    Attributes:
        argument: description of the argument after a colon in its name; empty if it takes none.
        progress: called with the progress of long tasks, if set.
    """

    argument: ClassVar[str] = ""
    progress: Progress | None = None

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def missing(self) -> str:
        """Description of what is missing; empty if the data set can be loaded. Checks names, not contents."""
        return ""

    def hint(self) -> str:
        """How to get the data set if it is missing."""
        return f"run: bench data {self.name} --data {self.root}, or point --data to its folder"

    def require(self) -> None:
        """Check that the data set can be loaded.

        Raises:
            DataMissing: something is missing.
        """
        if missing := self.missing():
            raise DataMissing(f"{self.name}: {missing}", hint=self.hint())

    def digest(self) -> str:
        """Digest of the content; empty where the name alone identifies it."""
        return ""

    def earlier_digest(self) -> str | None:
        """The digest that earlier versions gave the same content; None where it is the same."""
        return None

    def prepared_files(self) -> list[Path]:
        """The files below ``<root>/prepared`` that loading the data set reads, if they are there.

        Raises:
            DataMissing: it is missing or damaged.
        """
        return []

    def download(self) -> None:
        """Download and verify missing files.

        Raises:
            OSError: it cannot be downloaded, or a file is damaged.
        """
        if missing := self.missing():
            raise OSError(f"{self.name}: {missing}, and cannot be downloaded; {self.hint()}")

    def load(self) -> Dataset:
        """Load the data set.

        Raises:
            DataMissing: it is missing or damaged.
        """
        raise NotImplementedError

    def report(self, what: str, done: int, total: int) -> None:
        """Call :attr:`progress`, if it is set."""
        if self.progress:
            self.progress(what, done, total)

    def damaged(self, path: Path, why: str) -> DataMissing:
        """The error to raise for a damaged file."""
        return DataMissing(f"{path} is damaged: {why}", hint=f"delete it, then {self.hint()}")


def rows_of_planes(images: np.ndarray) -> np.ndarray:
    """Reorder (n, height, width, 3) or grey (n, height, width) uint8 images to the layout of ``Split``."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2))


Triple = tuple[float, float, float]


def statistics(images: np.ndarray, *, at_most: int = 10_000) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel in [0, 1], to four digits; the deviation is at least 1/255.

    Args:
        images: (n, height, 3, width) uint8.
        at_most: number of images to measure; of more images, evenly spaced ones are taken.
    """
    chosen = np.linspace(0, len(images) - 1, min(len(images), at_most)).round().astype(np.int64)
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(chosen), 512):
        block = images[chosen[start : start + 512]]
        counts += [np.bincount(block[:, :, channel].ravel(), minlength=256) for channel in range(3)]
    values, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 255.0**-2))
    return triple(mean), triple(std)


def triple(values: np.ndarray) -> Triple:
    """Three numbers, rounded to four digits."""
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
