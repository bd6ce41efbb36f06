"""Baselines of graph refinement that learn nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import torch

from protocols.spec.plugins import register_refinement
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features, NetworkFeatures


@register_refinement("neighbour_mean")
def neighbour_mean(
    features: Features,
    *,
    k: Annotated[int, AtLeast(1)] = 15,
    rounds: Annotated[int, AtLeast(0)] = 2,
    append_input: bool = False,
) -> Features:
    """Control: the mean of each image and its nearest training images; nothing is learned.

    It equals ``graph`` with identity layers and no non-linearity (Wu et al. 2019, arXiv 1902.07153).

    Args:
        features: of the run, scaled to length 1. Where a method has two networks, the means of both are concatenated.
        k: neighbours of an image, by cosine similarity.
        rounds: number of averaging steps; two have the receptive field of a graph network of two layers.
        append_input: concatenate the features before averaging and the means, instead of the means alone.
    """
    inputs = [network.units for network in features.networks] if append_input else []
    means = [mean_over_neighbours(network, k, rounds) for network in features.networks]
    return concatenate_networks(features, [*inputs, *means])


@register_refinement("concatenated")
def concatenated(features: Features) -> Features | None:
    """Control: features of a method's two networks, concatenated; does not apply to a method with one."""
    if features.student is None:
        return None
    return concatenate_networks(features, [network.units for network in features.networks])


def concatenate_networks(features: Features, parts: list[tuple[Tensor, Tensor]]) -> Features:
    """Features replaced by the concatenation of ``parts``: (n, d) and (m, d) of training and test images each."""
    train, test = (torch.cat(split, dim=1) for split in zip(*parts, strict=True))
    return replace(features, train=train, test=test, recorded_neighbours=None, student=None)


def mean_over_neighbours(network: NetworkFeatures, k: int, rounds: int) -> tuple[Tensor, Tensor]:
    """Features (n, d) and (m, d) of training and test images after some rounds of averaging over neighbours."""
    (train, test), (train_neighbours, test_neighbours) = network.units, network.neighbours(k)
    for _ in range(rounds):
        train, test = (
            average_with_neighbours(train, train, train_neighbours),
            average_with_neighbours(test, train, test_neighbours),
        )
    return train, test


def average_with_neighbours(rows: Tensor, bank: Tensor, neighbours: Tensor) -> Tensor:
    """Mean (n, d) of each row (n, d) and its neighbours (n, k) in a bank.

    Neighbours are added one after another, so that no row's rounding depends on other rows.
    """
    total = rows.clone()
    for neighbour in neighbours.T:
        total += bank[neighbour.long()]
    return total / (neighbours.shape[1] + 1)
