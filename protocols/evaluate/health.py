"""Health of a representation: collapse, effective ranks, alignment and uniformity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from protocols.system.device import to_float64
from results.record import Health

if TYPE_CHECKING:
    from torch import Tensor


def diagnose(features: Tensor, first: Tensor, second: Tensor, views: Tensor) -> Health:
    """Measure a representation's health.

    Args:
        features: (n, d) of images without augmentation.
        first: (m, d) of one augmented view of m images.
        second: (m, d) of another view of the same images.
        views: (k, q, d) of q augmented views of k images.
    """
    n, dim = features.shape
    std, rank = feature_std(features), rankme(features)
    return Health(
        std=std,
        rankme=rank,
        lidar=lidar(views),
        alignment=alignment(first, second),
        uniformity=uniformity(features[:2000]),
        n=n,
        dim=dim,
        warning=collapse_warning(std, rank),
    )


def feature_std(features: Tensor) -> float:
    """Mean standard deviation of L2-normalised features, times √d; 1 when they are uniform on the sphere.

    That of a single image is 0.
    """
    if len(features) < 2:
        return 0.0
    normalised = F.normalize(features.float())
    return float(normalised.std(0).mean()) * math.sqrt(features.shape[1])


def rankme(features: Tensor) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023, equation 1).

    Features are not centred; ε is 1e-7.
    """
    return effective_rank(torch.linalg.svdvals(to_float64(features)))


def lidar(views: Tensor, delta: float = 1e-4) -> float:
    """Effective rank of what tells images apart, in units of what tells views of an image apart.

    LiDAR of Thilak et al. (2023, arXiv 2312.04000): each image is a class of its own, whose members are its augmented
    views. The eigenvalues are those of the covariance of the class means, whitened by the mean covariance within
    classes, to whose diagonal ``delta`` is added; they take the place of RankMe's singular values. Covariances are
    means over images and views, without a correction for their number.

    Args:
        views: (k, q, d) of q views of k images.
        delta: keeps dimensions without any spread within classes from counting without bound.

    Returns:
        From 1 to the smaller of d and k - 1.
    """
    views = to_float64(views)
    means = views.mean(1)
    within = (views - means[:, None]).flatten(0, 1)
    covariance = within.T @ within / len(within) + delta * torch.eye(views.shape[2], device=views.device)
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, (means - means.mean(0)).T, upper=False)
    return effective_rank(torch.linalg.svdvals(whitened).square() / len(means))


def effective_rank(values: Tensor) -> float:
    """Exp of the entropy of values ≥ 0 in float64, divided by their sum."""
    p = values / values.sum().clamp(min=1e-12) + 1e-7
    entropy = -(p * p.log()).sum()
    return float(entropy.exp())


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of normalised features of two views (Wang & Isola 2020, α = 2)."""
    return (F.normalize(first) - F.normalize(second)).square().sum(1).mean().item()


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 |x - y|²) over pairs of normalised features (Wang & Isola 2020, t = 2).

    Without a pair it is 0, as where all are equal.
    """
    if len(features) < 2:
        return 0.0
    return torch.pdist(F.normalize(features)).square().mul(-2).exp().mean().log().item()


def collapse_warning(std: float, rank: float) -> str:
    """A warning if the representation has collapsed, else an empty string."""
    if std < 0.02:
        return f"collapsed: all images have almost the same representation (feature std {std:.3f})"
    if rank < 1.5:
        return f"collapsed: the representation has one dimension (RankMe {rank:.1f})"
    return ""
