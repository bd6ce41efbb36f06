"""A part of a data set's own training images to choose settings on, so that the test split stays untouched."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from protocols.datasets.base import Dataset, Source, Split
from protocols.spec.labels import HELD_OUT
from protocols.spec.plugins import dataset_source, register_dataset

EVERY = 10


@register_dataset("held_out")
class HeldOut(Source):
    """A data set without its test split: held_out:NAME measures on every tenth training image, trains on the others.

    To choose a setting, compare on ``held_out:NAME``; to report, run what was chosen on ``NAME``. Which images are held
    out is the same for everybody; classes keep their shares where a set is sorted by class or shuffled. Unlabelled
    images and the normalisation are those of the whole data set. The training images are copied into memory.
    """

    argument = "NAME"

    @cached_property
    def whole(self) -> Source:
        """The data set of which it is a part.

        Raises:
            UnknownName: there is none of that name.
        """
        return dataset_source(self.name.removeprefix(HELD_OUT), self.root)

    def missing(self) -> str:
        """What the whole lacks."""
        return self.whole.missing()

    def hint(self) -> str:
        """What to do about it."""
        return self.whole.hint()

    def digest(self) -> str:
        """That of the whole."""
        return self.whole.digest()

    def download(self) -> None:
        """Fetch the whole.

        Raises:
            OSError: there is no way to fetch it, or what came is damaged.
        """
        self.whole.download()

    def load(self) -> Dataset:
        """Read the whole, and part it.

        Raises:
            DataMissing: it is not there, or damaged.
        """
        self.whole.progress = self.progress
        whole = self.whole.load()
        held_out = np.arange(len(whole.train)) % EVERY == EVERY - 1
        train, test = (Split(whole.train.images[some], whole.train.labels[some]) for some in (~held_out, held_out))
        return replace(whole, name=self.name, train=train, test=test)
