"""k-nearest-neighbour classification with the settings of other projects, to be compared with their tables.

What is the same for all: features are those of ``knn``, of images without augmentation and without a crop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from protocols.evaluate.accuracy import top_k
from protocols.evaluate.knn import knn
from protocols.spec.plugins import register_evaluation
from protocols.system.device import to_float64
from results.constraints import AtLeast

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features

DISTANCES_PER_BLOCK = 2**24
"""Distances held at a time."""


@register_evaluation("knn-lightly")
def knn_lightly(
    features: Features, *, k: Annotated[int, AtLeast(1)] = 200, temperature: Annotated[float, AtLeast(1e-6)] = 0.1
) -> dict[str, float]:
    """The kNN of lightly's benchmarks: ``knn`` with 200 neighbours and temperature 0.1.

    Differences: lightly's tables for small images hold the highest accuracy of all epochs, here the last one is
    measured; lightly ranks classes that no neighbour has too, here they are never among the five.

    Args:
        features: of the run.
        k: neighbours that vote, at most the whole training split; lightly needs that many images.
        temperature: a neighbour of similarity s votes with weight exp(s / temperature).

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    return knn(features, k=k, temperature=temperature)


@register_evaluation("knn-dino")
def knn_dino(
    features: Features, *, k: Annotated[int, AtLeast(1)] = 20, temperature: Annotated[float, AtLeast(1e-6)] = 0.07
) -> dict[str, float]:
    """The kNN of DINO's released code (Caron et al. 2021, arXiv 2104.14294): 20 neighbours, temperature 0.07.

    The code reports 10, 20, 100 and 200 neighbours, and its authors 20. Differences: images are not enlarged to 256
    pixels and cropped to 224 (``image_size`` resizes them); the code counts classes that no neighbour has among the
    five. On the same 5,000 features ``top1`` is that of the released code, and ``top5`` 96.14 % instead of 96.18.

    Args:
        features: of the run.
        k: neighbours that vote, at most the whole training split.
        temperature: a neighbour of similarity s votes with weight exp(s / temperature).

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    return knn(features, k=k, temperature=temperature)


@register_evaluation("knn-wmse")
def knn_wmse(features: Features, *, k: Annotated[int, AtLeast(1)] = 5) -> dict[str, float]:
    """The kNN of W-MSE's released code (Ermolov et al. 2021, arXiv 2007.06346): 5 neighbours by Euclidean distance.

    Features are not scaled, and votes count alike. Of classes with equally many votes the first one wins, as in the
    code; of training images at an equal distance the first ones are neighbours. Differences: distances are computed in
    float64; the code gives no ``top5``. On the same 5,000 features ``top1`` is that of the code.

    Args:
        features: of the run.
        k: neighbours that vote, at most the whole training split.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    rows = max(1, DISTANCES_PER_BLOCK // len(features.train))
    votes = torch.cat(
        [
            F.one_hot(features.train_labels[nearest_by_distance(block, features.train, k)], features.classes).sum(1)
            for block in features.test.split(rows)
        ]
    )
    return top_k(to_float64(votes.where(votes > 0, -math.inf)), features.test_labels, features.classes)


def nearest_by_distance(queries: Tensor, bank: Tensor, k: int) -> Tensor:
    """The rows (n, k) of a bank (m, d) that are nearest to queries (n, d) by Euclidean distance, in ascending order.

    Of equal distances that of the first row counts as smaller; there are at most m.
    """
    k = min(k, len(bank))
    x, y = to_float64(queries), to_float64(bank)
    distance = x.square().sum(1, keepdim=True) - 2 * x @ y.T + y.square().sum(1)
    farthest = distance.kthvalue(k, dim=1, keepdim=True).values
    nearer, tied = distance < farthest, distance == farthest
    chosen = nearer | (tied & (tied.cumsum(1) <= k - nearer.sum(1, keepdim=True)))
    return chosen.nonzero()[:, 1].view(-1, k).to(bank.device)
