"""Whether a representation is healthy, whatever its accuracy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from results.record import Health

if TYPE_CHECKING:
    from torch import Tensor


def diagnose(features: Tensor, first: Tensor, second: Tensor) -> Health:
    """Measure a representation's health.

    Args:
        features: (n, d) of images as they are.
        first: (m, d) of one augmented view of some images.
        second: (m, d) of another view of the same.
    """
    n, dim = features.shape
    std, rank = spread(features), rankme(features)
    return Health(
        std=std,
        rankme=rank,
        alignment=alignment(first, second),
        uniformity=uniformity(features[:2000]),
        n=n,
        dim=dim,
        warning=warning_for(std, rank),
    )


def spread(features: Tensor) -> float:
    """Mean over dimensions of the deviation of L2-normalised features, times √d; 1 when they fill the sphere evenly."""
    normalised = F.normalize(features.float())
    return float(normalised.std(0).mean()) * math.sqrt(features.shape[1])


def rankme(features: Tensor) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023, equation 1).

    Features are not centred; ε is 1e-7.
    """
    values = torch.linalg.svdvals(features.double())
    p = values / values.sum().clamp(min=1e-12) + 1e-7
    entropy = -(p * p.log()).sum()
    return float(entropy.exp())


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of normalised features of two views (Wang & Isola 2020, α = 2)."""
    return (F.normalize(first) - F.normalize(second)).square().sum(1).mean().item()


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 |x - y|²) over pairs of normalised features (Wang & Isola 2020, t = 2)."""
    return torch.pdist(F.normalize(features)).square().mul(-2).exp().mean().log().item()


def warning_for(std: float, rank: float) -> str:
    """What is wrong, in words; nothing if all seems well."""
    if std < 0.02:
        return f"collapsed: all images are represented alike (feature std {std:.3f})"
    if rank < 1.5:
        return f"collapsed: the representation has one dimension (RankMe {rank:.1f})"
    return ""
