"""Frozen features of a data set, the input of refinements and of frozen evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from protocols.features.neighbours import nearest, nearest_others, unit
from protocols.system import randomness
from protocols.system.progress import ProgressListener

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NetworkFeatures:
    """Representations of a data set by one network.

    Attributes:
        train: (n, d) float32, of the training split.
        test: (m, d), of the test split.
        recorded_neighbours: (n, k) int32, neighbours that every training image had while the network was trained, as
            rows of the training split, -1 where there is none; None if they were not recorded.
    """

    train: Tensor
    test: Tensor
    recorded_neighbours: Tensor | None = None
    _neighbours: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def units(self) -> tuple[Tensor, Tensor]:
        """Representations of the training and test split, scaled to length 1."""
        return unit(self.train), unit(self.test)

    def neighbours(self, k: int) -> tuple[Tensor, Tensor]:
        """(n, k) and (m, k) int32, the nearest training images of training and test images; computed once."""
        if k not in self._neighbours:
            train, test = self.units
            self._neighbours[k] = nearest_others(train, k).index, nearest(test, train, k).index
        return self._neighbours[k]


@dataclass(frozen=True)
class Graph:
    """The training images that every image is connected to, as rows of the training split; -1 where there is none.

    Attributes:
        train: (n, k) int32, of the training images.
        test: (m, l) int32, of the test images.
    """

    train: Tensor
    test: Tensor


@dataclass(frozen=True)
class Features:
    """Frozen features and labels of a data set.

    Attributes:
        train: (n, d) float32 representations of the training split.
        train_labels: (n,) int64.
        test: (m, d) of the test split.
        test_labels: (m,).
        classes: number of classes.
        seed: of the run, for what is drawn at random.
        recorded_neighbours: see ``NetworkFeatures``.
        student: representations by the method's second network, where it keeps two (the first is the teacher).
        graph: that the features were refined with, if any.
        transductive: whether a test image's features depend on other test images.
        listener: receives the progress of long refinements, and may ask to stop.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    seed: int
    recorded_neighbours: Tensor | None = None
    student: NetworkFeatures | None = None
    graph: Graph | None = None
    transductive: bool = False
    listener: ProgressListener = field(default_factory=ProgressListener, repr=False, compare=False)

    @cached_property
    def networks(self) -> tuple[NetworkFeatures, ...]:
        """Features by network, the evaluated one first."""
        evaluated = NetworkFeatures(self.train, self.test, self.recorded_neighbours)
        return (evaluated,) if self.student is None else (evaluated, self.student)


def label_fraction(features: Features, fraction: float) -> Features:
    """Features whose training split is a stratified ``fraction`` of the original one."""
    index = stratified_subset(features.train_labels, fraction, features.seed)
    return replace(features, train=features.train[index], train_labels=features.train_labels[index])


def stratified_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of a fraction of every class, drawn by the seed; a smaller fraction is a subset of a larger one.

    Args:
        labels: (n,) int64.
        fraction: in (0, 1]; of every class at least one image is taken.
        seed: of the run.

    Returns:
        (m,) int64, rising, on the device of the labels.
    """
    quota = (labels.bincount() * fraction).round().clamp(min=1)
    return first_of_every_class(labels, randomness.permutation(len(labels), seed, "labels"), quota)


def first_of_every_class(labels: Tensor, order: Tensor, quota: Tensor | int) -> Tensor:
    """Indices of the first images of every class in an order.

    Args:
        labels: (n,) int64.
        order: (n,) permutation of the images.
        quota: how many of every class, or (classes,) how many of each; all images of a class that has fewer.

    Returns:
        (m,) int64, rising, on the device of the labels.
    """
    order = order.to(labels.device)
    by_class = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    rank_in_class = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[by_class]]
    quota_of_image = quota if isinstance(quota, int) else quota[labels[by_class]]
    return by_class[rank_in_class < quota_of_image].sort().values
