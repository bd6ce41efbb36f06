"""Accuracies of scores, how well calibrated they are, and which classes a score may count for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from protocols.system.device import to_float64
from results.errors import Diverged

if TYPE_CHECKING:
    from torch import Tensor


def top_k(scores: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """Accuracies of scores, the highest of which is the prediction.

    Of equal scores the class of the lower index comes first, as in scikit-learn. A score of −∞ says that nothing
    speaks for a class; it is never right, however few classes have another.

    Args:
        scores: (n, classes).
        labels: (n,) int64.
        classes: number of classes.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: a score is not a number, or +∞.
    """
    if not (scores < math.inf).all():
        raise Diverged("the scores of the classifier are not finite", hint="try a lower learning rate")
    labels = labels.to(scores.device)
    score = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    rank = ((scores > score) | ((scores == score) & earlier)).sum(1)
    supported = score[:, 0] > -math.inf
    ks = (1, 5) if classes > 10 else (1,)
    return {f"top{k}": 100.0 * to_float64(supported & (rank < k)).mean().item() for k in ks}


def mask_absent_classes(scores: Tensor, train_labels: Tensor) -> Tensor:
    """Scores (n, classes) with −∞ for every class that none of the training images has, by their labels (m,)."""
    absent = train_labels.bincount(minlength=scores.shape[1]) == 0
    return scores.masked_fill(absent, -math.inf)


def calibration_error(scores: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599), in percent.

    A prediction's confidence is its probability by softmax. Bins of equal width, open on the left, divide (0, 1]; the
    error is the mean over images of the distance between the accuracy and the mean confidence of their bin.

    Args:
        scores: (n, classes), of which the softmax are probabilities.
        labels: (n,) int64.
        bins: number of bins.
    """
    scores = to_float64(scores)
    confidence, prediction = scores.softmax(1).max(1)
    limits = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=scores.device)[1:-1]
    index = torch.bucketize(confidence, limits)
    excess = torch.zeros(bins, dtype=torch.float64, device=scores.device)
    excess.index_add_(0, index, confidence - (prediction == labels.to(scores.device)).double())
    return 100.0 * excess.abs().sum().item() / len(labels)
