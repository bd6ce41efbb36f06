"""What a graph network has to beat: refinements that learn nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from protocols.spec.plugins import register_refinement

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features, NetworkFeatures


@register_refinement("neighbour_mean")
def neighbour_mean(features: Features, *, k: int = 15, rounds: int = 2, append_input: bool = False) -> Features:
    """Control: the mean of each image and its nearest training images; nothing is learnt.

    It is ``graph`` with layers that are the identity, and without non-linearity (Wu et al. 2019, arXiv 1902.07153).

    Args:
        features: of the run; they are scaled to length 1. Of two networks, both are averaged and concatenated.
        k: neighbours of an image, by cosine similarity.
        rounds: how many times; two reach as far as two layers of a graph network.
        append_input: concatenate the means with the image's own features, instead of replacing these.
    """
    own = [network.units for network in features.networks] if append_input else []
    return concatenate_networks(
        features, [*own, *(mean_over_neighbours(network, k, rounds) for network in features.networks)]
    )


@register_refinement("concatenated")
def concatenated(features: Features) -> Features | None:
    """Control: features of a method's two networks, concatenated; does not apply to a method with one."""
    if features.student is None:
        return None
    return concatenate_networks(features, [network.units for network in features.networks])


def concatenate_networks(features: Features, parts: list[tuple[Tensor, Tensor]]) -> Features:
    """Features replaced by the concatenation of ``parts``: (n, d) and (m, d) of training and test images each."""
    train, test = (torch.cat(some, dim=1) for some in zip(*parts, strict=True))
    return replace(features, train=train, test=test, recorded_neighbours=None, student=None)


def mean_over_neighbours(network: NetworkFeatures, k: int, rounds: int) -> tuple[Tensor, Tensor]:
    """Averaged features (n, d) and (m, d) of training and test images."""
    (train, test), (of_train, of_test) = network.units, network.neighbours(k)
    for _ in range(rounds):
        train, test = mean_with(train, train, of_train), mean_with(test, train, of_test)
    return train, test


def mean_with(own: Tensor, bank: Tensor, neighbours: Tensor) -> Tensor:
    """Means (n, d) of rows and their neighbours (n, k) in a bank; added one by one, so that rows keep to themselves."""
    total = own.clone()
    for one in neighbours.T:
        total += bank[one.long()]
    return total / (neighbours.shape[1] + 1)
