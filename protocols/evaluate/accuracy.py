"""Accuracies of scores, and which classes a score may count for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

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
    score = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    rank = ((scores > score) | ((scores == score) & earlier)).sum(1)
    supported = score[:, 0] > -math.inf
    ks = (1, 5) if classes > 10 else (1,)
    return {f"top{k}": 100.0 * (supported & (rank < k)).double().mean().item() for k in ks}


def mask_absent_classes(scores: Tensor, train_labels: Tensor) -> Tensor:
    """Scores (n, classes) with −∞ for every class that none of the training images has, by their labels (m,)."""
    absent = train_labels.bincount(minlength=scores.shape[1]) == 0
    return scores.masked_fill(absent, -math.inf)
