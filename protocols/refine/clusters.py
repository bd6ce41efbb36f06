"""Clusters of nodes, out of which mini-batches are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.features.neighbours import unit
from protocols.system import randomness

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 10


def k_means(units: Tensor, k: int, seed: int) -> Tensor:
    """Spherical k-means (Dhillon & Modha 2001) from random points; a cluster that loses all its points stays empty.

    Args:
        units: (n, d) of length 1.
        k: clusters; at most n.
        seed: the trial.

    Returns:
        (n,) int64, the cluster of every point.
    """
    start = randomness.permutation(len(units), seed, "clusters")[:k]
    centres = units[start.to(units.device)]
    for _ in range(ROUNDS):
        cluster = (units @ centres.T).argmax(1)
        centres = torch.where(occupied(cluster, k), unit(sums(units, cluster, k)), centres)
    return cluster


def sums(points: Tensor, cluster: Tensor, k: int) -> Tensor:
    """Sum (k, d) of every cluster's points, in an order that does not vary."""
    order = cluster.argsort(stable=True)
    members = points[order].split(cluster.bincount(minlength=k).tolist())
    return torch.stack([some.sum(0) for some in members])


def occupied(cluster: Tensor, k: int) -> Tensor:
    """(k, 1), whether a cluster has points."""
    return (cluster.bincount(minlength=k) > 0)[:, None]
