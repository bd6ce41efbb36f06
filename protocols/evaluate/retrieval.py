"""Retrieval: precision of the training images most similar to a test image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from protocols.system.device import float64_device, to_float64
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics of an evaluation, and neighbours for a contact sheet.

    Attributes:
        metrics: by name.
        queries: (q,) indices of test images.
        neighbours: (q, k) indices of training images, the most similar first.
    """

    metrics: dict[str, float]
    queries: Tensor
    neighbours: Tensor


SIMILARITIES_PER_BLOCK = 2**22
"""Similarities sorted at a time, so that memory does not grow with the data set."""


@register_evaluation("retrieval", version=1)
def retrieval(
    features: Features, *, k: Annotated[int, AtLeast(1)] = 10, queries: Annotated[int, AtLeast(1)] = 10
) -> RetrievalResult:
    """Test images as queries, the training split ranked by cosine similarity; relevant are those of the same class.

    Of training images that are equally similar the first ones come first; for ``map`` they share a rank. The cosine of
    features of length 0 and any others is 0. A query whose class no training image has counts as 0.

    Args:
        features: of the run.
        k: neighbours of ``precision@k`` and of the contact sheet, at most the whole training split.
        queries: number of queries on the contact sheet, drawn by the seed.

    Returns:
        ``precision@1``, ``precision@k`` and ``map``, mean average precision over the whole ranking, in percent; and the
        contact sheet.
    """
    train, test = F.normalize(features.train), F.normalize(features.test)
    k = min(k, len(train))
    sums = torch.zeros(3, dtype=torch.float64, device=float64_device(train.device))
    rows = max(1, SIMILARITIES_PER_BLOCK // len(train))
    for block, labels in zip(test.split(rows), features.test_labels.split(rows), strict=True):
        similarity, order = (block @ train.T).sort(dim=1, descending=True, stable=True)
        relevant = features.train_labels[order] == labels[:, None]
        precisions = [to_float64(relevant[:, :count]).mean(1) for count in (1, k)]
        sums += torch.stack([*precisions, average_precision(similarity, relevant)]).sum(1)
    precision_at_1, precision_at_k, mean_ap = (100 * sums / len(test)).tolist()
    shown = randomness.permutation(len(test), features.seed, "retrieval")[:queries]
    neighbours = (test[shown.to(test.device)] @ train.T).sort(dim=1, descending=True, stable=True).indices[:, :k]
    return RetrievalResult(
        {"precision@1": precision_at_1, f"precision@{k}": precision_at_k, "map": mean_ap}, shown, neighbours.cpu()
    )


def average_precision(similarity: Tensor, relevant: Tensor) -> Tensor:
    """Average precision of every row: mean of the precision at the rank of each relevant image; ties share a rank.

    Args:
        similarity: (n, m), sorted in descending order.
        relevant: (n, m) bool.

    Returns:
        (n,) float64; 0 where nothing is relevant.
    """
    similarity, relevant = (some.to(float64_device(some.device)) for some in (similarity, relevant))
    ranks = torch.arange(similarity.shape[1], device=similarity.device).expand_as(similarity)
    last = F.pad(similarity[:, 1:] != similarity[:, :-1], (0, 1), value=True)
    rank = ranks.where(last, similarity.shape[1]).flip(1).cummin(1).values.flip(1)
    hits = relevant.cumsum(1)
    precision = hits.gather(1, rank).double() / (rank + 1)
    return (precision * relevant).sum(1) / hits[:, -1].clamp(min=1)
