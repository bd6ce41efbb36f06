"""Linear classifiers with the settings of other projects, to be compared with their tables.

What is the same for all: features are frozen and computed once, of images without augmentation, where the projects
(the relational paper aside) crop and flip training images anew in every epoch; and the classifier after the last epoch
is scored, where some report the best epoch on the test images.

Each was compared with the project's own code on the same features: the mean of five repetitions, with other initial
weights and another order, on 5,000 test images (``tests/tools/other_projects.py``).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional as F

from protocols.evaluate.accuracy import top_k
from protocols.evaluate.linear import fitted_scores, linear
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.features.features import Features


@register_evaluation("linear-solo")
def linear_solo(
    features: Features,
    *,
    epochs: Annotated[int, AtLeast(1)] = 100,
    lr: Annotated[float, Above(0)] = 0.3,
    batch: Annotated[int, AtLeast(1)] = 256,
) -> dict[str, float]:
    """Linear classifier as in solo-learn's offline evaluation on ImageNet-100 (da Costa et al. 2022).

    SGD with momentum 0.9 and without weight decay; the learning rate, which is for 256 images, is multiplied by 0.1
    after 60 and 80 of 100 epochs, and the last images of an epoch are left out where they make no whole batch. The
    learning rate depends on the method there: 0.3 for BYOL, DINO, NNCLR, MoCo v3 and VICReg, 0.1 for Barlow Twins, 1
    for SimCLR, 3 for MoCo v2 and 30 for SimSiam. Here every method has the same, unless ``lr`` says otherwise. A
    further difference: float32 instead of 16 bits. The tables for CIFAR in solo-learn are of an online classifier,
    which this is not. On the same features solo-learn's code reaches 76.43 %, this 76.47.

    Args:
        features: of the run; not scaled.
        epochs: passes over the training split.
        lr: learning rate of the first epochs for 256 images a step; it is scaled in proportion to ``batch``.
        batch: images per step; fewer training images than that make one step an epoch.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the scores are not finite.
    """
    first = lr * batch / 256
    rates = [first * 0.1 ** sum(epoch >= part * epochs for part in (0.6, 0.8)) for epoch in range(epochs)]
    scores = fitted_scores(features, partial(fit_by_sgd, rates=rates, batch=batch, drop_last=True))
    return top_k(scores, features.test_labels, features.classes)


@register_evaluation("linear-dino")
def linear_dino(
    features: Features,
    *,
    epochs: Annotated[int, AtLeast(1)] = 100,
    lr: Annotated[float, Above(0)] = 0.001,
    batch: Annotated[int, AtLeast(1)] = 1024,
) -> dict[str, float]:
    """Linear classifier as in DINO's released code (Caron et al. 2021, arXiv 2104.14294).

    SGD with momentum 0.9 and without weight decay, 8 × 128 images a step; weights begin as normal numbers of deviation
    0.01, biases as 0; the learning rate, which is for 256 images, falls along a cosine, epoch by epoch. Differences: of
    a ViT-S the code takes the class tokens of the last four blocks together, here the features are those of the run.
    A data set of fewer images gives the classifier fewer steps than ImageNet does; it is then far from converged, as it
    would be with the code. On the same features the released code reaches 78.68 %, this 78.61.

    Args:
        features: of the run; not scaled.
        epochs: passes over the training split.
        lr: learning rate of the first epoch for 256 images a step; it is scaled in proportion to ``batch``.
        batch: images per step; the last batch of an epoch may be smaller.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the scores are not finite.
    """
    rates = [lr * batch / 256 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]

    def fit(classifier: nn.Linear, features: Features) -> None:
        with torch.no_grad():  # drawn on the CPU, so that they are the same on every device
            classifier.weight.copy_(0.01 * torch.randn(classifier.weight.shape))
            classifier.bias.zero_()
        fit_by_sgd(classifier, features, rates=rates, batch=batch)

    return top_k(fitted_scores(features, fit), features.test_labels, features.classes)


@register_evaluation("linear-relational")
def linear_relational(
    features: Features,
    *,
    epochs: Annotated[int, AtLeast(1)] = 100,
    lr: Annotated[float, Above(0)] = 1e-3,
    batch: Annotated[int, AtLeast(1)] = 128,
) -> dict[str, float]:
    """Linear classifier of Patacchiola & Storkey (2020), section 4.1: ``linear`` by Adam, on features as they are.

    The protocol ``relational2020`` measures the same as ``linear``. On the same features the released code reaches
    78.04 %, this 78.05.

    Args:
        features: of the run; not scaled.
        epochs: passes over the training split.
        lr: learning rate of Adam, constant.
        batch: images per step; the last batch of an epoch may be smaller.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the scores are not finite.
    """
    return linear(features, solver="adam", standardize=False, epochs=epochs, lr=lr, batch=batch)


def fit_by_sgd(
    classifier: nn.Linear, features: Features, *, rates: Sequence[float], batch: int, drop_last: bool = False
) -> None:
    """Minimise cross-entropy by SGD with momentum 0.9; ``rates`` has the learning rate of every epoch.

    The order of the images is drawn by the seed, anew in every epoch. With ``drop_last`` the last images of an epoch
    are left out where they make no whole batch.
    """
    images = len(features.train)
    used = images // batch * batch if drop_last and images >= batch else images
    optimizer = torch.optim.SGD(classifier.parameters(), lr=rates[0], momentum=0.9)
    for epoch, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        order = randomness.permutation(len(features.train), features.seed, "classifier", epoch)
        for index in order[:used].to(features.train.device).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(classifier(features.train[index]), features.train_labels[index]).backward()
            optimizer.step()
