"""Linear evaluation with a weight decay that is chosen on a part of the training split."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch

from protocols.evaluate.accuracy import top_k
from protocols.evaluate.linear import fit_to_convergence, fitted_scores, standardized
from protocols.features.features import stratified_subset
from protocols.spec.plugins import register_evaluation
from results.constraints import AtLeast, Below

if TYPE_CHECKING:
    from protocols.features.features import Features

CHOICES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Weight decays that are tried, the strongest first."""

DEFAULT_L2 = 1e-4
"""Of ``linear``; taken where no class has an image to spare."""


@register_evaluation("linear-tuned")
def linear_tuned(features: Features, *, held_out: Annotated[float, AtLeast(0.01), Below(1)] = 0.2) -> dict[str, float]:
    """``linear``, with a weight decay that is chosen on held-out images of the training split; refitted on all of it.

    Seven weight decays, powers of ten from 1e-6 to 1, are each fitted on the other images to convergence. The one of
    the highest accuracy on the held-out images is taken, the strongest of equals. The test split is scored once.

    Args:
        features: of the run; every one is scaled to mean 0 and deviation 1 over the training split.
        held_out: of the images of every class that are held out for the choice, drawn by the seed. The weight decay is
            1e-4 where no class has an image to spare.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the scores are not finite.
    """
    features = standardized(features)
    chosen = chosen_weight_decay(features, held_out)
    scores = fitted_scores(features, partial(fit_to_convergence, l2=chosen))
    return top_k(scores, features.test_labels, features.classes)


def chosen_weight_decay(features: Features, held_out: float) -> float:
    """The weight decay that is best on a held-out part of the training split; the test split is not used."""
    index = stratified_subset(features.train_labels, 1 - held_out, features.seed)
    others = torch.ones_like(features.train_labels, dtype=torch.bool).index_fill(0, index, value=False)
    if not others.any():
        return DEFAULT_L2
    part = replace(
        features,
        train=features.train[index],
        train_labels=features.train_labels[index],
        test=features.train[others],
        test_labels=features.train_labels[others],
    )
    accuracies = [
        top_k(fitted_scores(part, partial(fit_to_convergence, l2=l2)), part.test_labels, part.classes)["top1"]
        for l2 in CHOICES
    ]
    return CHOICES[accuracies.index(max(accuracies))]
