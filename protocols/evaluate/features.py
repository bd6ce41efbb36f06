"""Frozen features: computed once, they feed every evaluation of a run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from protocols.augment import normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset

BATCH = 1000


@dataclass(frozen=True)
class Features:
    """What frozen evaluations see of a data set.

    Attributes:
        train: (n, d) float32 representations of the training split.
        train_labels: (n,) int64.
        test: (m, d) of the test split.
        test_labels: (m,).
        classes: number of classes.
        seed: of the run, for evaluations that draw at random.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    seed: int


def extract(backbone: Backbone, dataset: Dataset, device: torch.device, seed: int) -> Features:
    """Features of a data set's training and test split; its images are normalised and otherwise as they are."""

    def of(images: Tensor) -> Tensor:
        return represent(backbone, images, lambda some: normalise(some, dataset.mean, dataset.std), device)

    return Features(
        train=of(torch.from_numpy(dataset.train.images)),
        train_labels=torch.from_numpy(dataset.train.labels).to(device),
        test=of(torch.from_numpy(dataset.test.images)),
        test_labels=torch.from_numpy(dataset.test.labels).to(device),
        classes=len(dataset.classes),
        seed=seed,
    )


def represent(backbone: Backbone, images: Tensor, prepare: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """Representations (n, d) of images (n, …), prepared and computed batch by batch in float32."""
    with frozen(backbone), torch.inference_mode():
        batches = [backbone(prepare(some.to(device))).float() for some in images.split(BATCH)]
    return torch.cat(batches).clone()


@contextlib.contextmanager
def frozen(backbone: Backbone) -> Iterator[None]:
    """Evaluation mode: running statistics are used and not touched."""
    training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(training)
