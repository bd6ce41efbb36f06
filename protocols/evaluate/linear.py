"""Linear evaluation: accuracy of a linear classifier on frozen features."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from protocols.evaluate.accuracy import calibration_error, mask_absent_classes, top_k
from protocols.features.features import label_fraction
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from protocols.features.features import Features


@register_evaluation("linear", version=1, added=("calibration",))
def linear(
    features: Features,
    *,
    solver: Literal["lbfgs", "adam"] = "lbfgs",
    standardize: bool = True,
    l2: Annotated[float, AtLeast(0), AtMost(1000)] = 1e-4,
    epochs: Annotated[int, AtLeast(1)] = 100,
    lr: Annotated[float, Above(0)] = 1e-3,
    batch: Annotated[int, AtLeast(1)] = 128,
    fraction: Annotated[float, Above(0), AtMost(1)] = 1.0,
    calibration: bool = False,
) -> dict[str, float]:
    """Linear classifier on frozen features, trained on the training split, scored once on the test split.

    Nothing is selected: the classifier after the last step is scored. A class without training images is never
    predicted, not even among five.

    Args:
        features: of the run.
        solver: ``lbfgs`` minimises the penalised cross-entropy to convergence; ``adam`` is section 4.1 of Patacchiola &
            Storkey (2020): minibatches, constant learning rate, no penalty, last epoch.
        standardize: scale every feature to mean 0 and deviation 1 over the training split.
        l2: weight decay of ``lbfgs``: l2 / 2 times the squared norm of the weights is added to the mean loss.
        epochs: passes over the training split by ``adam``.
        lr: learning rate of ``adam``.
        batch: batch size of ``adam``.
        fraction: of the labels of every class that are used, drawn by the seed. Features are still scaled by the whole
            training split.
        calibration: whether the calibration error is measured too.

    Returns:
        ``top1``, with more than ten classes ``top5``, and with ``calibration`` the expected calibration error ``ece``,
        in percent.

    Raises:
        Diverged: the scores are not finite.
    """
    if standardize:
        features = standardized(features)
    features = label_fraction(features, fraction)
    if solver == "lbfgs":
        scores = fitted_scores(features, partial(fit_to_convergence, l2=l2))
    else:
        scores = fitted_scores(features, partial(fit_by_adam, epochs=epochs, lr=lr, batch=batch))
    accuracies = top_k(scores, features.test_labels, features.classes)
    return {**accuracies, "ece": calibration_error(scores, features.test_labels)} if calibration else accuracies


def standardized(features: Features) -> Features:
    """Features scaled by the training split's means and deviations; a constant feature becomes 0."""
    std, mean = torch.std_mean(features.train, dim=0)
    scale = torch.where(std > 1e-6 * std.max().clamp(min=1e-12), 1 / std, torch.zeros_like(std))
    train, test = ((x - mean) * scale for x in (features.train, features.test))
    return dataclasses.replace(features, train=train, test=test)


def fitted_scores(features: Features, fit: Callable[[nn.Linear, Features], None]) -> Tensor:
    """Scores (m, classes) of the test split by a linear classifier; −∞ for classes without training images.

    Args:
        features: of both splits.
        fit: trains a classifier, which has torch's default initialisation, determined by the seed.
    """
    torch.manual_seed(randomness.key(features.seed, "classifier"))
    classifier = nn.Linear(features.train.shape[1], features.classes).to(features.train.device)
    fit(classifier, features)
    with torch.no_grad():
        return mask_absent_classes(classifier(features.test), features.train_labels)


def fit_to_convergence(classifier: nn.Linear, features: Features, l2: float) -> None:
    """Minimise mean cross-entropy + l2/2 · |W|² over all training features by L-BFGS."""
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.LBFGS(
        classifier.parameters(),
        max_iter=500,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = 0.5 * l2 * classifier.weight.square().sum()
        loss = F.cross_entropy(classifier(features.train), features.train_labels) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)


def fit_by_adam(classifier: nn.Linear, features: Features, *, epochs: int, lr: float, batch: int) -> None:
    """Minimise cross-entropy by minibatches, with a constant learning rate."""
    optimizer = torch.optim.Adam(classifier.parameters(), lr=lr, fused=True)
    n = len(features.train)
    for epoch in range(epochs):
        order = randomness.permutation(n, features.seed, "classifier", epoch).to(features.train.device)
        for index in order.split(batch):
            loss = F.cross_entropy(classifier(features.train[index]), features.train_labels[index])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
