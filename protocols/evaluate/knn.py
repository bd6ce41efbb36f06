"""k-nearest-neighbour classification."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from protocols.evaluate.accuracy import top_k
from protocols.features.neighbours import nearest
from protocols.spec.plugins import register_evaluation
from protocols.system.device import to_float64
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features
    from protocols.features.neighbours import Neighbours


@register_evaluation("knn", version=2)
def knn(
    features: Features, *, k: Annotated[int, AtLeast(1)] = 20, temperature: Annotated[float, AtLeast(1e-6)] = 0.07
) -> dict[str, float]:
    """k-nearest-neighbour classifier on frozen features (Wu et al. 2018), by cosine similarity.

    Of training images that are equally similar the first ones are neighbours; the cosine of features of length 0 and
    any others is 0. A class that none of the neighbours has is never predicted, not even among five.

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
    """Logarithm (n, classes) of the weighted votes of each image's neighbours; −∞ for classes without a vote.

    As a logarithm a vote is neither too small for a float at a low temperature nor too large.
    """
    exponents = to_float64(neighbours.similarity) / temperature
    voted = labels[neighbours.index.long()].to(exponents.device)
    largest = exponents.new_full((len(exponents), classes), -math.inf).scatter_reduce_(1, voted, exponents, "amax")
    relative = (exponents - largest.gather(1, voted)).exp()
    return largest + largest.new_zeros(largest.shape).scatter_add_(1, voted, relative).log()
