"""k-nearest-neighbour classification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.evaluate.linear import top_k
from protocols.features.neighbours import nearest
from protocols.spec.plugins import register_evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features
    from protocols.features.neighbours import Neighbours


@register_evaluation("knn", version=2)
def knn(features: Features, *, k: int = 20, temperature: float = 0.07) -> dict[str, float]:
    """k-nearest-neighbour classifier on frozen features (Wu et al. 2018), by cosine similarity.

    Args:
        features: of the run.
        k: neighbours that vote, at most the whole training split.
        temperature: a neighbour of similarity s votes with weight exp(s / temperature).

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    neighbours = nearest(features.test, features.train, k)
    scores = vote(neighbours, features.train_labels, features.classes, temperature)
    return top_k(scores, features.test_labels, features.classes)


def vote(neighbours: Neighbours, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Weighted votes (n, classes) of each image's neighbours."""
    weights = ((neighbours.similarity - 1.0) / temperature).exp()
    votes = torch.zeros(len(weights), classes, device=weights.device)
    return votes.scatter_add_(1, labels[neighbours.index.long()], weights)
