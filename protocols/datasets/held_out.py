"""Held-out training images for choosing options, so that the test split is not used."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from protocols.datasets.base import Dataset, Source, Split
from protocols.spec.labels import HELD_OUT
from protocols.spec.plugins import dataset_source, register_dataset

if TYPE_CHECKING:
    from pathlib import Path

HELD_OUT_EVERY = 10
"""Every tenth training image is held out."""


@register_dataset("held_out")
class HeldOut(Source):
    """A data set without its test split: held_out:NAME measures on every tenth training image, trains on the others.

    To choose options, compare on ``held_out:NAME``; to report, run the chosen options on ``NAME``. The held-out images
    are the same for every run; class proportions are preserved where a set is sorted by class or shuffled. Unlabelled
    images and the normalisation are those of the whole data set. The training images are copied into memory.
    """

    argument = "NAME"

    @cached_property
    def whole(self) -> Source:
        """The data set whose training images are divided.

        Raises:
            UnknownName: it does not exist.
        """
        return dataset_source(self.name.removeprefix(HELD_OUT), self.root)

    def missing(self) -> str:
        """Description of the missing files of the whole data set."""
        return self.whole.missing()

    def hint(self) -> str:
        """How to get the whole data set."""
        return self.whole.hint()

    def digest(self) -> str:
        """Digest of the whole data set."""
        self.whole.progress = self.progress
        return self.whole.digest()

    def earlier_digest(self) -> str | None:
        """That of the whole data set."""
        return self.whole.earlier_digest()

    def prepared_files(self) -> list[Path]:
        """Those of the whole data set."""
        return self.whole.prepared_files()

    def download(self) -> None:
        """Download the whole data set.

        Raises:
            OSError: it cannot be downloaded, or a file is damaged.
        """
        self.whole.download()

    def load(self) -> Dataset:
        """Load the whole data set, and divide its training images.

        Raises:
            DataMissing: it is missing or damaged.
        """
        self.whole.progress = self.progress
        whole = self.whole.load()
        held_out = np.arange(len(whole.train)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        train, test = (Split(whole.train.images[mask], whole.train.labels[mask]) for mask in (~held_out, held_out))
        return replace(whole, name=self.name, train=train, test=test)
