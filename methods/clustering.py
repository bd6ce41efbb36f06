"""k-means, and the whitening that comes before it."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**24
"""Distances in memory at a time."""


def whitened(features: Tensor, components: int) -> Tensor:
    """Principal components of features, first to last, each scaled to variance 1.

    Args:
        features: (n, d).
        components: to keep, at most.

    Returns:
        (n, min(d, ``components``)); a component without variance is 0.
    """
    centred = features - features.mean(0)
    covariance = (centred.T @ centred).cpu().double() / (len(features) - 1)
    variances, axes = (part.flip(-1)[..., :components] for part in torch.linalg.eigh(covariance))
    scale = torch.where(variances > 1e-6 * variances[0], variances.rsqrt(), 0.0)
    projected: Tensor = centred @ (axes * scale).to(features)
    return projected


def kmeans(points: Tensor, clusters: int, *, restarts: int, iterations: int) -> Tensor:
    """Cluster points by Lloyd's algorithm, the best of several k-means++ starts.

    Draws from torch's default CPU generator. A cluster that runs empty stays where it is.

    Args:
        points: (n, d).
        clusters: at most n.
        restarts: starts to choose from.
        iterations: of each start, at most.

    Returns:
        (n,) int64, the cluster of each point.
    """
    outcomes = [lloyd(points, plus_plus(points, clusters), iterations) for _ in range(restarts)]
    return min(outcomes, key=lambda outcome: outcome[1])[0]


def plus_plus(points: Tensor, clusters: int) -> Tensor:
    """Starting centres (clusters, d) of k-means++ (Arthur & Vassilvitskii 2007).

    The first is any point; each further one is a point drawn in proportion to its squared distance from the nearest.
    """
    norms, last = points.square().sum(1), len(points) - 1
    centres = [points[torch.randint(len(points), (1,))]]
    nearest = torch.full_like(norms, float("inf"))
    for u in torch.rand(clusters - 1).to(points.device).split(1):
        distances = norms - 2 * points @ centres[-1][0] + centres[-1].square().sum()
        nearest = torch.minimum(nearest, distances.clamp(min=0))
        cumulative = nearest.cumsum(0)
        drawn = torch.searchsorted(cumulative, u * cumulative[-1], right=True)
        centres.append(points[drawn.clamp(max=last)])
    return torch.cat(centres)


def lloyd(points: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Assign points to the nearest centre and move centres to their points' mean, until nothing changes.

    Args:
        points: (n, d).
        centres: (k, d) to start from.
        iterations: at most.

    Returns:
        The cluster (n,) of each point, and the sum of squared distances to the centres.
    """
    clusters, inertia = nearest_centres(points, centres)
    for _ in range(iterations - 1):
        before, centres = clusters, means(points, clusters, centres)
        clusters, inertia = nearest_centres(points, centres)
        if torch.equal(clusters, before):
            break
    return clusters, inertia


def nearest_centres(points: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    """The nearest centre (n,) of each point, and the sum of squared distances to them."""
    norms, turned = centres.square().sum(1), centres.T
    found = [torch.addmm(norms, some, turned, alpha=-2).min(1) for some in points.split(max(1, CHUNK // len(centres)))]
    inertia = points.square().sum() + sum(piece.values.sum() for piece in found)
    return torch.cat([piece.indices for piece in found]), float(inertia)


def means(points: Tensor, clusters: Tensor, centres: Tensor) -> Tensor:
    """Mean of each cluster's points; of an empty one its centre as it was."""
    sums = torch.zeros_like(centres).index_add_(0, clusters, points)
    sizes = torch.bincount(clusters, minlength=len(centres))[:, None]
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
