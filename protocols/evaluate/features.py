"""Frozen features: computed once, they feed every evaluation of a run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from protocols import randomness
from protocols.augment import normalise
from protocols.neighbours import nearest, nearest_others, unit
from protocols.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset

BATCH = 1000


@dataclass(frozen=True)
class Stream:
    """What one network makes of a data set.

    Attributes:
        train: (n, d) float32 representations of the training split.
        test: (m, d) of the test split.
        recorded: (n, k) int32, neighbours that every training image had while the network was trained, as rows of the
            training split, -1 where there is none; None if they were not recorded.
    """

    train: Tensor
    test: Tensor
    recorded: Tensor | None = None
    _found: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def units(self) -> tuple[Tensor, Tensor]:
        """Representations of the training and test split with their lengths set to 1."""
        return unit(self.train), unit(self.test)

    def neighbours(self, k: int) -> tuple[Tensor, Tensor]:
        """(n, k) and (m, k) int32, the nearest training images of training and test images, searched for once."""
        if k not in self._found:
            train, test = self.units
            self._found[k] = nearest_others(train, k).index, nearest(test, train, k).index
        return self._found[k]


@dataclass(frozen=True)
class Graph:
    """The training images that every image is joined to, as rows of the training split; -1 where there is none.

    Attributes:
        train: (n, k) int32, of the training images.
        test: (m, l) int32, of the test images.
    """

    train: Tensor
    test: Tensor


@dataclass(frozen=True)
class Features:
    """What refinements and frozen evaluations see of a data set.

    Attributes:
        train: (n, d) float32 representations of the training split.
        train_labels: (n,) int64.
        test: (m, d) of the test split.
        test_labels: (m,).
        classes: number of classes.
        seed: of the run, for what is drawn at random.
        recorded: see ``Stream``.
        second: what another network of the same method makes of the data set, as the student beside the teacher.
        graph: by which they were refined, if they were.
        transductive: whether a test image's features depend on other test images.
        watch: hears how far a refinement is that takes long, and may ask to stop.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    seed: int
    recorded: Tensor | None = None
    second: Stream | None = None
    graph: Graph | None = None
    transductive: bool = False
    watch: Watch = field(default_factory=Watch, repr=False, compare=False)

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """One a network, the run's own first."""
        own = Stream(self.train, self.test, self.recorded)
        return (own,) if self.second is None else (own, self.second)


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


def labelled(features: Features, fraction: float) -> Features:
    """Features of which the labels of a fraction of the training split are known, and the others left out."""
    index = stratified(features.train_labels, fraction, features.seed)
    return replace(features, train=features.train[index], train_labels=features.train_labels[index])


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Places of a fraction of every class, drawn by the seed; a smaller fraction's lie among a larger one's.

    Args:
        labels: (n,) int64.
        fraction: in (0, 1]; of every class at least one image is taken.
        seed: the trial.

    Returns:
        (m,) int64, rising, on the device of the labels.
    """
    order = randomness.permutation(len(labels), seed, "labels").to(labels.device)
    by_class = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    place_in_class = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[by_class]]
    quota = (counts * fraction).round().clamp(min=1)
    return by_class[place_in_class < quota[labels[by_class]]].sort().values


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
