"""Accuracy of a backbone while it is being trained, on training images only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from protocols.datasets.base import Split
from protocols.features.extraction import extract_dataset
from protocols.spec.plugins import EVALUATIONS
from protocols.system import randomness
from results.errors import Diverged

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset

IMAGES = 5_000
"""Images of the training split that are used, drawn by the seed."""

HELD_OUT = 0.2
"""Share of these images that are classified; the others are their neighbours."""


def knn_during_training(dataset: Dataset, device: torch.device, seed: int) -> Callable[[Backbone], dict[str, float]]:
    """A function that measures the kNN accuracy of a backbone on held-out images of the training split.

    The classifier is ``knn`` with its default options. Pretraining sees the held-out images too, as all of its images,
    and supervised training sees their labels: the accuracy tells how training goes, and is no result. The test split is
    not used. A measurement changes neither the backbone nor the state of a random generator.

    Args:
        dataset: that is pretrained on.
        device: of the backbone.
        seed: of the run.

    Returns:
        The function: of a backbone it returns ``knn_top1`` in percent, and raises ``Diverged`` if its representations
        are not finite.
    """
    knn = EVALUATIONS.get("knn")
    chosen = randomness.permutation(len(dataset.train), seed, "monitor")[:IMAGES]
    held_out = max(1, round(HELD_OUT * len(chosen)))
    part = replace(
        dataset, train=part_of(dataset.train, chosen[held_out:]), test=part_of(dataset.train, chosen[:held_out])
    )

    def measure(backbone: Backbone) -> dict[str, float]:
        features = extract_dataset(backbone, part, device, seed)
        if not (features.train.isfinite().all() and features.test.isfinite().all()):
            raise Diverged("the representation is not finite", hint="try a lower learning rate")
        return {"knn_top1": knn(features)["top1"]}

    return measure


def part_of(split: Split, index: Tensor) -> Split:
    """The images of a split at some indices (m,), in the order of the split."""
    rows = index.sort().values.numpy()
    return Split(split.images[rows], split.labels[rows])
