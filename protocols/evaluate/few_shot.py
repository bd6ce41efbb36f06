"""Few-shot evaluation: accuracy of a linear classifier that sees few labelled images of every class."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from protocols.evaluate.accuracy import top_k
from protocols.evaluate.linear import fit_to_convergence, fitted_scores, standardized
from protocols.features.features import first_of_every_class
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from protocols.features.features import Features


@register_evaluation("few-shot")
def few_shot(
    features: Features,
    *,
    shots: Annotated[int, AtLeast(1)] = 10,
    draws: Annotated[int, AtLeast(1)] = 10,
    l2: Annotated[float, AtLeast(0), AtMost(1000)] = 1e-2,
) -> dict[str, float]:
    """Linear classifiers on a few labelled images of every class: mean and spread over repeated draws of the images.

    Each classifier minimises the penalised cross-entropy to convergence and is scored on the whole test split.

    Args:
        features: of the run; every one is scaled to mean 0 and deviation 1 over the training split, whose images are
            used without labels for that.
        shots: labelled images of every class; all images of a class that has fewer.
        draws: of these images, by the seed, each independent of the others.
        l2: weight decay: l2 / 2 times the squared norm of the weights is added to the mean loss.

    Returns:
        The mean over draws of ``top1``, and with more than ten classes of ``top5``, in percent; with two draws or more
        also their standard deviation, ``top1_std`` and ``top5_std``, in percentage points.

    Raises:
        Diverged: the scores are not finite.
    """
    features = standardized(features)
    values = []
    for draw in range(draws):
        order = randomness.permutation(len(features.train), features.seed, "few-shot", draw)
        index = first_of_every_class(features.train_labels, order, shots)
        drawn = replace(features, train=features.train[index], train_labels=features.train_labels[index])
        scores = fitted_scores(drawn, partial(fit_to_convergence, l2=l2))
        values.append(top_k(scores, drawn.test_labels, drawn.classes))
    found = {}
    for name in values[0]:
        over_draws = [value[name] for value in values]
        found[name] = statistics.fmean(over_draws)
        if draws > 1:
            found[f"{name}_std"] = statistics.stdev(over_draws)
    return found
