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
"""Told what is being done, how many images are done, and of how many."""


@dataclass(frozen=True)
class Split:
    """Some images and what they show.

    Attributes:
        images: (n, height, 3, width) uint8; rows of pixels one channel after the other, the order in which
            resampling an axis is a plain matrix product. May be memory-mapped.
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
        classes: what labels mean, in their order.
        mean: of each channel in [0, 1], for normalisation.
        std: likewise.
        train: labelled images for training; evaluations fit on these.
        test: labelled images that are measured on, once, at the end.
        unlabeled: images to pretrain on instead of ``train``, where the data set has such.
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
        """What self-supervised methods train on."""
        return self.train if self.unlabeled is None else self.unlabeled

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.train.images.shape[1])


class Source:
    """Where a data set comes from.

    Args:
        name: as on the command line, with what follows a colon: ``folder:PATH``.
        root: folder that holds the data sets of this machine.

    Attributes:
        argument: what follows a colon in its name, in words; empty where nothing does.
        progress: told of long work, if set.
    """

    argument: ClassVar[str] = ""
    progress: Progress | None = None

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def missing(self) -> str:
        """What is not there, in words; empty when it can be loaded. Quick: looks at names, not at contents."""
        return ""

    def hint(self) -> str:
        """What to do about it when it is missing."""
        return f"run: bench data {self.name} --data {self.root}, or point --data to where it is"

    def require(self) -> None:
        """Do nothing if it can be loaded.

        Raises:
            DataMissing: something is missing.
        """
        if missing := self.missing():
            raise DataMissing(f"{self.name}: {missing}", hint=self.hint())

    def digest(self) -> str:
        """What tells its content from another's of the same name; empty where the name alone says it all."""
        return ""

    def download(self) -> None:
        """Fetch and verify what is missing.

        Raises:
            OSError: there is no way to fetch it, or what came is damaged.
        """
        if missing := self.missing():
            raise OSError(f"{self.name}: {missing}, and cannot be downloaded; {self.hint()}")

    def load(self) -> Dataset:
        """Read it whole.

        Raises:
            DataMissing: it is not there, or damaged.
        """
        raise NotImplementedError

    def report(self, what: str, done: int, total: int) -> None:
        """Tell :attr:`progress`, if anyone listens."""
        if self.progress:
            self.progress(what, done, total)

    def damaged(self, path: Path, why: str) -> DataMissing:
        """The error to raise for a file that is not what it should be."""
        return DataMissing(f"{path} is damaged: {why}", hint=f"delete it, then {self.hint()}")


def rows_of_planes(images: np.ndarray) -> np.ndarray:
    """Bring (n, height, width, 3) or grey (n, height, width) uint8 images into the order that ``Split`` asks for."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2))


Triple = tuple[float, float, float]


def statistics(images: np.ndarray, *, at_most: int = 10_000) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel in [0, 1], to four digits; the deviation is at least 1/255.

    Args:
        images: (n, height, 3, width) uint8.
        at_most: of more images than this, evenly spaced ones are measured.
    """
    chosen = np.linspace(0, len(images) - 1, min(len(images), at_most)).round().astype(np.int64)
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(chosen), 512):
        some = images[chosen[start : start + 512]]
        counts += [np.bincount(some[:, :, channel].ravel(), minlength=256) for channel in range(3)]
    values, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 255.0**-2))
    return triple(mean), triple(std)


def triple(values: np.ndarray) -> Triple:
    """Three numbers, to four digits."""
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
