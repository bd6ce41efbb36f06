"""Linear evaluation as in the released code of GraphNNCLR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn

from protocols.evaluate.accuracy import mask_absent_classes, top_k
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features

SCORES_PER_BLOCK = 2**25
"""Scores in memory at a time, over the classifiers that are trained together: 128 MB."""


@register_evaluation("linear-graphnnclr2025")
def linear_graphnnclr2025(
    features: Features,
    *,
    restarts: Annotated[int, AtLeast(1)] = 20,
    steps: Annotated[int, AtLeast(1)] = 100,
    lr: Annotated[float, Above(0)] = 0.01,
) -> dict[str, float]:
    """Mean accuracy of linear classifiers that are trained as in the released code of Javidani et al. (2025).

    Features are not scaled. Adam takes a fixed number of full-batch steps on the cross-entropy, without weight decay:
    few for features of length 1, so the score depends on their scale and number, where that of ``linear``, which
    converges on scaled features, does not. Classes without training images are never predicted.

    Args:
        features: of the run.
        restarts: classifiers, from different initial weights (Glorot & Bengio 2010; biases 0).
        steps: of Adam, for each classifier.
        lr: learning rate, constant.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.
    """
    at_once = max(1, SCORES_PER_BLOCK // (len(features.train) * features.classes))
    results = []
    for numbers in torch.arange(restarts).split(at_once):
        for scores in fit_together(features, numbers.tolist(), steps, lr):
            found = mask_absent_classes(scores, features.train_labels)
            results.append(top_k(found, features.test_labels, features.classes))
    return {name: sum(result[name] for result in results) / restarts for name in results[0]}


def fit_together(features: Features, restarts: list[int], steps: int, lr: float) -> tuple[Tensor, ...]:
    """Scores (m, classes) of the test split by each classifier of the given numbers.

    They are trained side by side, as one layer with an output for each class of each: a step reads the features once
    for all. Nothing passes from one to another, since the loss is the sum of theirs and Adam treats each weight alone.
    """
    dim, shape = features.train.shape[1], (features.classes, len(restarts))
    first = []
    for restart in restarts:
        torch.manual_seed(randomness.key(features.seed, "classifier", restart))
        first.append(nn.init.xavier_uniform_(nn.Linear(dim, features.classes).weight.data))
    layer = nn.Linear(dim, features.classes * len(restarts))
    with torch.no_grad():
        layer.weight.copy_(torch.stack(first, dim=1).flatten(0, 1))
        layer.bias.zero_()
    layer.to(features.train.device)
    label = features.train_labels[:, None, None].expand(-1, 1, len(restarts))
    optimizer = torch.optim.Adam(layer.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        scores = layer(features.train).unflatten(1, shape)
        # cross-entropy; functional.cross_entropy takes five times as long for a dimension of few classes
        losses = scores.logsumexp(1) - scores.gather(1, label)[:, 0]
        losses.mean(0).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found: Tensor = layer(features.test)
    scores_of_each: tuple[Tensor, ...] = found.unflatten(1, shape).unbind(2)
    return scores_of_each
