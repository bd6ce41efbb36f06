"""Spherical k-means, which divides the nodes of a graph for mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.features.neighbours import unit
from protocols.system import randomness

if TYPE_CHECKING:
    from torch import Tensor

ITERATIONS = 10


def k_means(units: Tensor, k: int, seed: int) -> Tensor:
    """Spherical k-means (Dhillon & Modha 2001) from random points; a cluster that loses all its points stays empty.

    Args:
        units: (n, d) of length 1.
        k: number of clusters, at most n.
        seed: of the run.

    Returns:
        (n,) int64, the cluster of every point.
    """
    start = randomness.permutation(len(units), seed, "clusters")[:k]
    centres = units[start.to(units.device)]
    for _ in range(ITERATIONS):
        cluster = (units @ centres.T).argmax(1)
        occupied = (cluster.bincount(minlength=k) > 0)[:, None]
        centres = torch.where(occupied, unit(cluster_sums(units, cluster, k)), centres)
    return cluster


def cluster_sums(points: Tensor, cluster: Tensor, k: int) -> Tensor:
    """Sum (k, d) of the points of every cluster, added in a deterministic order."""
    order = cluster.argsort(stable=True)
    members = points[order].split(cluster.bincount(minlength=k).tolist())
    return torch.stack([rows.sum(0) for rows in members])
