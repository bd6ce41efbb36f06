"""PCA whitening, k-means, and the Sinkhorn algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

DISTANCES_PER_BLOCK = 2**24
"""Distances in memory at a time: 64 MB."""


def pca_whiten(features: Tensor, components: int) -> Tensor:
    """Project features on their principal components, each scaled to variance 1.

    Args:
        features: (n, d).
        components: maximal number of components.

    Returns:
        (n, min(d, ``components``)), by decreasing variance; a component without variance is 0.
    """
    centred = features - features.mean(0)
    covariance = (centred.T @ centred).cpu().double() / (len(features) - 1)
    variances, axes = (part.flip(-1)[..., :components] for part in torch.linalg.eigh(covariance))
    scale = torch.where(variances > 1e-6 * variances[0], variances.rsqrt(), 0.0)
    projected: Tensor = centred @ (axes * scale).to(features)
    return projected


def kmeans(points: Tensor, clusters: int, *, restarts: int, iterations: int) -> Tensor:
    """k-means by Lloyd's algorithm, the best of several k-means++ initialisations.

    Draws from torch's default CPU generator. The centre of an empty cluster does not move.

    Args:
        points: (n, d).
        clusters: number of clusters, at most n.
        restarts: number of initialisations; the one of the lowest inertia is returned.
        iterations: maximal number of iterations per restart.

    Returns:
        (n,) int64, the cluster of each point.
    """
    results = [lloyd(points, kmeans_plus_plus(points, clusters), iterations) for _ in range(restarts)]
    labels, _ = min(results, key=lambda result: result[1])
    return labels


def kmeans_plus_plus(points: Tensor, clusters: int) -> Tensor:
    """Initial centres of k-means++ (Arthur & Vassilvitskii 2007).

    The first centre is a point drawn uniformly. Every further one is a point drawn with probability proportional to its
    squared distance from the nearest centre so far.

    Args:
        points: (n, d).
        clusters: number of centres.

    Returns:
        (clusters, d).
    """
    squared_norms, last = points.square().sum(1), len(points) - 1
    centres = [points[torch.randint(len(points), (1,))]]
    to_nearest = torch.full_like(squared_norms, float("inf"))
    for u in torch.rand(clusters - 1).to(points.device).split(1):
        distances = squared_norms - 2 * points @ centres[-1][0] + centres[-1].square().sum()
        to_nearest = torch.minimum(to_nearest, distances.clamp(min=0))
        cumulative = to_nearest.cumsum(0)
        drawn = torch.searchsorted(cumulative, u * cumulative[-1], right=True)
        centres.append(points[drawn.clamp(max=last)])
    return torch.cat(centres)


def lloyd(points: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Lloyd's algorithm: assign points to the nearest centre, move centres to their points' mean, until convergence.

    Args:
        points: (n, d).
        centres: (k, d) initial centres.
        iterations: maximal number of assignments.

    Returns:
        The cluster (n,) of each point, and the inertia: the sum of squared distances to the nearest centre.
    """
    labels, inertia = assign_clusters(points, centres)
    for _ in range(iterations - 1):
        previous, centres = labels, cluster_means(points, labels, centres)
        labels, inertia = assign_clusters(points, centres)
        if torch.equal(labels, previous):
            break
    return labels, inertia


def assign_clusters(points: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    """The index (n,) of the nearest centre of each point, and the sum of squared distances to the nearest centres."""
    squared_norms, transposed = centres.square().sum(1), centres.T
    blocks = points.split(max(1, DISTANCES_PER_BLOCK // len(centres)))
    nearest = [torch.addmm(squared_norms, block, transposed, alpha=-2).min(1) for block in blocks]
    inertia = points.square().sum() + sum(block.values.sum() for block in nearest)
    return torch.cat([block.indices for block in nearest]), float(inertia)


def cluster_means(points: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """The mean (k, d) of each cluster's points; for an empty cluster its previous centre."""
    sums = torch.zeros_like(centres).index_add_(0, labels, points)
    sizes = torch.bincount(labels, minlength=len(centres))[:, None]
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)


def sinkhorn(scores: Tensor, weights: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Soft assignment of points to prototypes that gives every prototype as many (Cuturi 2013).

    Args:
        scores: (n, k) similarities of points and prototypes.
        weights: (n,) of the points; one of weight 0 counts for no prototype, and its row of the result is 0.
        epsilon: weight of the entropy; > 0.
        iterations: how often the sums over points, then those over prototypes, are made equal.

    Returns:
        (n, k), every row with sum 1, or 0 where the weight is 0.
    """
    q = weights[:, None] * ((scores.float() - scores.max()) / epsilon).exp()
    tiny = torch.finfo(q.dtype).tiny
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True).clamp(min=tiny)
        q = q / q.sum(1, keepdim=True).clamp(min=tiny)
    return q
