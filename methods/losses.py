"""Losses as pure functions of embeddings, in float32 whatever the precision around them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

P = ParamSpec("P")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run a loss outside autocast, on float32 copies of its tensors."""

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        device = next(a.device.type for a in args if isinstance(a, torch.Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*tensors, **kwargs)  # type: ignore[arg-type]

    return wrapped


@full_precision
def nt_xent(z: Tensor, *, temperature: float, log_of_mean: bool = False) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views (Chen et al. 2020, equation 1).

    Of every embedding, p is the softmax weight of its other view among the 2b - 1 other embeddings of the batch.

    Args:
        z: (2b, d) embeddings, view v of image i in row v·b + i; need not be normalised.
        temperature: divides the cosine similarities; > 0.
        log_of_mean: return -log mean(p), as the code of Patacchiola & Storkey (2020) does, not mean(-log p).

    Returns:
        A scalar.
    """
    half = len(z) // 2
    z = F.normalize(z)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    log_p = logits.log_softmax(dim=1)
    log_positive = torch.cat([log_p.diagonal(half), log_p.diagonal(-half)])
    if log_of_mean:
        return -(log_positive.logsumexp(0) - torch.tensor(float(len(z))).log())
    return -log_positive.mean()


@full_precision
def info_nce_with_queue(queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of telling each query's key from the keys of a queue (He et al. 2020, equation 1).

    Args:
        queries: (n, d), need not be normalised.
        keys: (n, d), likewise; constants.
        queue: (m, d) normalised keys of the past, negatives of every query.
        temperature: divides the cosine similarities; > 0.
    """
    queries, keys = F.normalize(queries), F.normalize(keys.detach())
    positive = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([positive, queries @ queue.T], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


@full_precision
def info_nce_in_batch(anchors: Tensor, candidates: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of telling each anchor's own candidate from those of the batch's other images.

    Args:
        anchors: (n, d), need not be normalised.
        candidates: (n, d), likewise; row i is the positive of anchor i and a negative of the others.
        temperature: divides the cosine similarities; > 0.
    """
    logits = F.normalize(anchors) @ F.normalize(candidates).T / temperature
    return (logits.logsumexp(1) - logits.diagonal()).mean()


@full_precision
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of 2 - 2 cos between rows (Grill et al. 2020, equation 2); (n, d) and (n, d) to a scalar.

    The target is a constant: no gradient flows into it.
    """
    return 2.0 - 2.0 * F.cosine_similarity(prediction, target.detach()).mean()


@full_precision
def focal_with_logits(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Mean binary cross-entropy, weighted towards uncertain answers (Lin et al. 2017, equation 5).

    The weight of an answer is alpha_t · (1 - p_t)^gamma, where p_t is the probability given to the truth and alpha_t is
    ``alpha`` for positives and 1 - ``alpha`` for negatives; the gradient flows through it.

    Args:
        logits: (n,).
        targets: (n,), 0 or 1.
        gamma: ≥ 0; how strongly certain answers are played down.
        alpha: in [0, 1].
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return (balance * (1.0 - (-cross_entropy).exp()) ** gamma * cross_entropy).mean()


@full_precision
def cross_correlation(first: Tensor, second: Tensor, *, redundancy: float) -> Tensor:
    """Distance of the views' cross-correlation matrix from the identity (Zbontar et al. 2021, equation 1).

    Args:
        first: (n, d) embeddings of one view; standardised here over the batch.
        second: (n, d) of the other, likewise.
        redundancy: weight of the entries off the diagonal.
    """
    first, second = (F.batch_norm(z, None, None, training=True) for z in (first, second))
    correlation = first.T @ second / len(first)
    invariance = (1.0 - correlation.diagonal()).square().sum()
    return invariance + redundancy * off_diagonal(correlation).square().sum()


@full_precision
def variance_invariance_covariance(
    first: Tensor, second: Tensor, *, invariance: float, variance: float, covariance: float
) -> Tensor:
    """The three terms of VICReg (Bardes, Ponce & LeCun 2022, equation 6), the variances of both views averaged.

    Args:
        first: (n, d) embeddings of one view; n ≥ 2.
        second: (n, d) of the other.
        invariance: weight of the mean squared difference.
        variance: weight of the hinge on each dimension's standard deviation.
        covariance: weight of the squared covariances between dimensions.
    """
    spread = (hinge_on_deviation(first) + hinge_on_deviation(second)) / 2.0
    mixing = covariance_between_dimensions(first) + covariance_between_dimensions(second)
    return invariance * F.mse_loss(first, second) + variance * spread + covariance * mixing


def hinge_on_deviation(z: Tensor) -> Tensor:
    """By how much the standard deviation of a dimension falls short of 1, on average; (n, d) to a scalar."""
    return (1.0 - (z.var(0) + 1e-4).sqrt()).relu().mean()


def covariance_between_dimensions(z: Tensor) -> Tensor:
    """Sum of squared covariances between different dimensions, divided by d; (n, d) to a scalar."""
    centred = z - z.mean(0)
    return off_diagonal(centred.T @ centred / (len(z) - 1)).square().sum() / z.shape[1]


def off_diagonal(square: Tensor) -> Tensor:
    """A square matrix with zeros on its diagonal."""
    return square - square.diagonal().diag()


@full_precision
def self_distillation(
    student: Tensor, teacher: Tensor, centre: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy of the student's views under the teacher's other views (Caron et al. 2021, equation 3).

    Args:
        student: (s, b, k) logits of all views.
        teacher: (t, b, k) logits of the first t of them; constants.
        centre: (k,) subtracted from the teacher's.
        student_temperature: of the student's softmax; > 0.
        teacher_temperature: of the teacher's; > 0.

    Returns:
        A scalar: the mean over images and over pairs of different views.
    """
    targets = ((teacher.detach() - centre) / teacher_temperature).softmax(-1)
    log_p = (student / student_temperature).log_softmax(-1)
    pairs = -torch.einsum("tbk,sbk->ts", targets, log_p) / student.shape[1]
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(teacher))


@full_precision
def jensen_shannon(same: Tensor, other: Tensor) -> Tensor:
    """Binary cross-entropy that estimates a Jensen-Shannon divergence (Hjelm et al. 2019, equation 4, negated).

    Args:
        same: a discriminator's logits for what it should accept; any shape.
        other: its logits for what it should reject.

    Returns:
        Mean of softplus(-same) + mean of softplus(other); 2 log 2 if nothing can be told apart.
    """
    return F.softplus(-same).mean() + F.softplus(other).mean()
