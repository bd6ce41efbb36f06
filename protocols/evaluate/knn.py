"""Nearest neighbours: how well the classes of the nearest training images predict that of a test image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from protocols.evaluate import register
from protocols.evaluate.linear import top_k

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.evaluate.features import Features

BLOCK = 2**25
"""Similarities held at a time, so that memory does not grow with the data set."""


@register("knn", version=1)
def knn(features: Features, *, k: int = 20, temperature: float = 0.07) -> dict[str, float]:
    """k-nearest-neighbour classifier on frozen features (Wu et al. 2018), by cosine similarity.

    Args:
        features: of the run.
        k: neighbours that vote, at most the whole training split.
        temperature: a neighbour of similarity s votes with weight exp(s / temperature).

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    train, test = F.normalize(features.train), F.normalize(features.test)
    block = max(1, BLOCK // len(train))
    scores = [
        vote(some @ train.T, features.train_labels, features.classes, k=min(k, len(train)), temperature=temperature)
        for some in test.split(block)
    ]
    return top_k(torch.cat(scores), features.test_labels, features.classes)


def vote(similarities: Tensor, labels: Tensor, classes: int, *, k: int, temperature: float) -> Tensor:
    """Votes (n, classes) of the k most similar of all training images; similarities are (n, images)."""
    nearest, index = similarities.topk(k, dim=1)
    weights = ((nearest - 1.0) / temperature).exp()
    votes = torch.zeros(len(similarities), classes, device=similarities.device)
    return votes.scatter_add_(1, labels[index], weights)
