"""A pretrained backbone beside one data set: all that an evaluation may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from protocols.evaluate.features import extract
from results.errors import Diverged

if TYPE_CHECKING:
    import torch

    from methods.base import Backbone
    from protocols.augment import Augmenter
    from protocols.datasets.base import Dataset
    from protocols.evaluate.features import Features
    from protocols.watch import Watch


@dataclass(frozen=True)
class Subject:
    """A pretrained backbone and a data set that it is measured on.

    Attributes:
        backbone: on its device; an evaluation that trains it takes a copy.
        dataset: what it is measured on.
        augmenters: by the name of the recipe, with the data set's normalisation.
        seed: the trial.
        watch: hears of long work, and may ask to stop.
    """

    backbone: Backbone
    dataset: Dataset
    augmenters: dict[str, Augmenter]
    seed: int
    watch: Watch

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    @cached_property
    def features(self) -> Features:
        """Frozen features of the data set, computed when first needed.

        Raises:
            Diverged: they are not numbers.
        """
        features = extract(self.backbone, self.dataset, self.device, self.seed)
        if not (features.train.isfinite().all() and features.test.isfinite().all()):
            raise Diverged("the representation is not a number", hint="try a lower learning rate")
        return features
