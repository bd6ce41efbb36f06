"""What a graph network has to beat: refinements that learn nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from protocols.refine import register

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.evaluate.features import Features, Stream


@register("averaged")
def averaged(features: Features, *, k: int = 15, rounds: int = 2, beside: bool = False) -> Features:
    """Control: every image becomes the mean of itself and its nearest training images; nothing is learnt.

    It is ``graph`` with layers that change nothing (Wu et al. 2019, arXiv 1902.07153), and no non-linearity.

    Args:
        features: of the run; their lengths are set to 1. Of two networks, both are averaged and put side by side.
        k: neighbours of an image, by cosine similarity.
        rounds: how often; two reach as far as two layers of a graph network.
        beside: whether the means stand beside the image's own features, or in their place.
    """
    own = [stream.units for stream in features.streams] if beside else []
    return side_by_side(features, [*own, *(averages(stream, k, rounds) for stream in features.streams)])


@register("concatenated")
def concatenated(features: Features) -> Features | None:
    """Control: what a method's two networks make of an image, side by side; none for a method that has one."""
    if features.second is None:
        return None
    return side_by_side(features, [stream.units for stream in features.streams])


def side_by_side(features: Features, parts: list[tuple[Tensor, Tensor]]) -> Features:
    """The data set's features with those of every network, of training and test images, in their place."""
    train, test = (torch.cat(some, dim=1) for some in zip(*parts, strict=True))
    return replace(features, train=train, test=test, recorded=None, second=None)


def averages(stream: Stream, k: int, rounds: int) -> tuple[Tensor, Tensor]:
    """Averaged features (n, d) and (m, d) of training and test images."""
    (train, test), (of_train, of_test) = stream.units, stream.neighbours(k)
    for _ in range(rounds):
        train, test = mean_with(train, train, of_train), mean_with(test, train, of_test)
    return train, test


def mean_with(own: Tensor, bank: Tensor, neighbours: Tensor) -> Tensor:
    """Means (n, d) of rows and their neighbours (n, k) in a bank; added one by one, so that rows keep to themselves."""
    total = own.clone()
    for one in neighbours.T:
        total += bank[one.long()]
    return total / (neighbours.shape[1] + 1)
