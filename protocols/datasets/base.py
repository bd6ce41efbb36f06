"""The contract between a data set and the harness. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


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
        return self.unlabeled or self.train

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.train.images.shape[1])


class Source:
    """Where a data set comes from.

    Args:
        name: as on the command line, with what follows a colon: ``folder:PATH``.
        root: folder that holds the data sets of this machine.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def missing(self) -> str:
        """What is not there, in words; empty when it can be loaded. Quick: looks at names, not at contents."""
        return ""

    def download(self) -> None:
        """Fetch and verify what is missing.

        Raises:
            OSError: there is no way to fetch it, or what came is damaged.
        """

    def load(self) -> Dataset:
        """Read it whole.

        Raises:
            DataMissing: it is not there, or damaged.
        """
        raise NotImplementedError


def rows_of_planes(images: np.ndarray) -> np.ndarray:
    """Bring (n, height, width, 3) or grey (n, height, width) uint8 images into the order that ``Split`` asks for."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2))
