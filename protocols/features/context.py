"""The input of evaluations: a pretrained backbone and a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from protocols.features.extraction import extract_dataset
from results.errors import Diverged

if TYPE_CHECKING:
    import torch

    from methods.base import Backbone
    from protocols.augment.augmenter import Augmenter
    from protocols.datasets.base import Dataset
    from protocols.features.features import Features
    from protocols.system.progress import ProgressListener


@dataclass(frozen=True)
class EvaluationContext:
    """A pretrained backbone and a data set that it is evaluated on.

    Attributes:
        backbone: on its device; an evaluation that trains it takes a copy.
        dataset: with its training and test split.
        augmenters: by the name of the augmentation, with the data set's normalisation.
        seed: of the run.
        listener: receives the progress of long work, and may ask to stop.
        image_size: side in pixels of what the backbone sees; None for that of the data set.
        crop_pct: part of a resized image's side that the backbone sees, its centre; None for the whole image.
    """

    backbone: Backbone
    dataset: Dataset
    augmenters: dict[str, Augmenter]
    seed: int
    listener: ProgressListener
    image_size: int | None = None
    crop_pct: float | None = None

    @property
    def device(self) -> torch.device:
        """The backbone's device."""
        return next(self.backbone.parameters()).device

    @cached_property
    def features(self) -> Features:
        """Frozen features of the data set, computed when first needed.

        Raises:
            Diverged: they are not finite.
            KeyboardInterrupt: the listener asked to stop.
        """
        self.listener.stage("features", len(self.dataset.train) + len(self.dataset.test))
        features = extract_dataset(
            self.backbone,
            self.dataset,
            self.device,
            self.seed,
            size=self.image_size,
            crop_pct=self.crop_pct,
            report=self.listener.advance_or_stop,
        )
        if not (features.train.isfinite().all() and features.test.isfinite().all()):
            raise Diverged("the representation is not finite", hint="try a lower learning rate")
        return features
