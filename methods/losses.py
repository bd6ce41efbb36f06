"""Loss functions of embeddings or logits, computed in float32 even under autocast."""

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
    """Decorator: run a function with autocast disabled and its positional tensors converted to float32."""

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        device = next(a.device.type for a in args if isinstance(a, torch.Tensor))
        with torch.autocast("cpu" if device == "meta" else device, enabled=False):  # it knows no tensors without data
            return loss(*tensors, **kwargs)  # type: ignore[arg-type]

    return wrapped


@full_precision
def nt_xent(z: Tensor, *, temperature: float, log_of_mean: bool = False) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views (Chen et al. 2020, equation 1).

    For every embedding, p is the softmax probability of its other view among the 2b - 1 other embeddings of the batch.

    Args:
        z: (2b, d) embeddings, view v of image i in row v·b + i; need not be normalised.
        temperature: divides the cosine similarities; > 0.
        log_of_mean: return -log mean(p), as in the code of Patacchiola & Storkey (2020), instead of mean(-log p).

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
    """InfoNCE with the keys of earlier batches as negatives (He et al. 2020, equation 1).

    Args:
        queries: (n, d); need not be normalised.
        keys: (n, d) positive of each query; need not be normalised, receives no gradient.
        queue: (m, d) normalised keys of earlier batches, the negatives of every query.
        temperature: divides the cosine similarities; > 0.

    Returns:
        A scalar, the mean over queries.
    """
    queries, keys = F.normalize(queries), F.normalize(keys.detach())
    positive = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([positive, queries @ queue.T], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


@full_precision
def info_nce_in_batch(anchors: Tensor, candidates: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE with the candidates of the batch's other images as negatives (Dwibedi et al. 2021).

    Args:
        anchors: (n, d); need not be normalised.
        candidates: (n, d); need not be normalised. Row i is the positive of anchor i and a negative of the others.
        temperature: divides the cosine similarities; > 0.

    Returns:
        A scalar, the mean over anchors.
    """
    logits = F.normalize(anchors) @ F.normalize(candidates).T / temperature
    return (logits.logsumexp(1) - logits.diagonal()).mean()


@full_precision
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of 2 - 2 cos over rows: the squared distance of normalised vectors (Grill et al. 2020, equation 2).

    Args:
        prediction: (n, d).
        target: (n, d); receives no gradient.

    Returns:
        A scalar in [0, 4].
    """
    target = target.detach()
    lengths = [torch.linalg.vector_norm(side, dim=1).clamp_min(1e-8) for side in (prediction, target)]
    cosine: Tensor = torch.linalg.vecdot(prediction, target) / (lengths[0] * lengths[1])
    return 2.0 - 2.0 * cosine.mean()


@full_precision
def focal_with_logits(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Focal loss: binary cross-entropy with less weight on confident predictions (Lin et al. 2017, equation 5).

    The weight is alpha_t · (1 - p_t)^gamma, where p_t is the predicted probability of the true class and alpha_t is
    ``alpha`` for positives and 1 - ``alpha`` for negatives. Gradients flow through the weight.

    Args:
        logits: of any shape.
        targets: of the same shape; 0 or 1.
        gamma: exponent of the weight; ≥ 0.
        alpha: weight of positives, in [0, 1].

    Returns:
        A scalar.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    # Where p_t rounds to 1, the gradient of 0^gamma would be infinite for gamma below 1.
    error = (1.0 - (-cross_entropy).exp()).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
    return (balance * error**gamma * cross_entropy).mean()


@full_precision
def cross_correlation_loss(first: Tensor, second: Tensor, *, redundancy: float) -> Tensor:
    """Squared distance of the views' cross-correlation matrix from the identity (Zbontar et al. 2021, equation 1).

    Args:
        first: (n, d) embeddings of one view; standardised here over the batch.
        second: (n, d) embeddings of the other view; standardised here over the batch.
        redundancy: weight of the entries off the diagonal.

    Returns:
        A scalar.
    """
    first, second = (F.batch_norm(z, None, None, training=True) for z in (first, second))
    correlation = first.T @ second / len(first)
    invariance = (1.0 - correlation.diagonal()).square().sum()
    return invariance + redundancy * off_diagonal(correlation).square().sum()


@full_precision
def variance_invariance_covariance(
    first: Tensor, second: Tensor, *, invariance: float, variance: float, covariance: float
) -> Tensor:
    """The three terms of VICReg (Bardes, Ponce & LeCun 2022, equation 6), with the variance term averaged over views.

    Args:
        first: (n, d) embeddings of one view; n ≥ 2.
        second: (n, d) embeddings of the other view.
        invariance: weight of the mean squared difference.
        variance: weight of the hinge on each dimension's standard deviation.
        covariance: weight of the squared covariances between dimensions.

    Returns:
        A scalar.
    """
    variance_term = (std_hinge(first) + std_hinge(second)) / 2.0
    covariance_term = squared_covariances(first) + squared_covariances(second)
    return invariance * F.mse_loss(first, second) + variance * variance_term + covariance * covariance_term


def std_hinge(z: Tensor) -> Tensor:
    """Mean over dimensions of max(0, 1 - standard deviation); (n, d) to a scalar."""
    return (1.0 - (z.var(0) + 1e-4).sqrt()).relu().mean()


def squared_covariances(z: Tensor) -> Tensor:
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
    """Cross-entropy of the student under the teacher, for different views of an image (Caron et al. 2021, equation 3).

    Args:
        student: (s, b, k) logits of all s views of b images.
        teacher: (t, b, k) logits of the first t views; receives no gradient.
        centre: (k,) subtracted from the teacher's logits.
        student_temperature: of the student's softmax; > 0.
        teacher_temperature: of the teacher's softmax; > 0.

    Returns:
        A scalar, the mean over images and over pairs of different views.
    """
    targets = ((teacher.detach() - centre) / teacher_temperature).softmax(-1)
    return cross_entropy_between_views(targets, (student / student_temperature).log_softmax(-1))


@full_precision
def cross_entropy_between_views(targets: Tensor, log_p: Tensor) -> Tensor:
    """Cross-entropy of every view's distribution under those of the other views that have a target.

    Args:
        targets: (t, b, k) distributions over k classes, of the first t views of b images.
        log_p: (s, b, k) logarithms of the predicted distributions, of all s views.

    Returns:
        A scalar, the mean over images and over pairs of different views.
    """
    pairs = -torch.einsum("tbk,sbk->ts", targets, log_p) / log_p.shape[1]
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(targets))


@full_precision
def jensen_shannon(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy that estimates a Jensen-Shannon divergence (Hjelm et al. 2019, equation 4, negated).

    Args:
        positive: a discriminator's logits for positive samples, of any shape.
        negative: its logits for negative samples, of any shape.

    Returns:
        A scalar, mean softplus(-positive) + mean softplus(negative); 2 log 2 if all logits are 0.
    """
    return F.softplus(-positive).mean() + F.softplus(negative).mean()
