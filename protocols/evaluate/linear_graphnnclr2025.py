"""Linear evaluation as in the released code of GraphNNCLR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional as F

from protocols.evaluate.accuracy import mask_absent_classes, top_k
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast

if TYPE_CHECKING:
    from protocols.features.features import Features


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
    scores = []
    for restart in range(restarts):
        torch.manual_seed(randomness.key(features.seed, "classifier", restart))
        classifier = nn.Linear(features.train.shape[1], features.classes)
        nn.init.xavier_uniform_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        classifier.to(features.train.device)
        optimizer = torch.optim.Adam(classifier.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(classifier(features.train), features.train_labels).backward()
            optimizer.step()
        with torch.no_grad():
            found = mask_absent_classes(classifier(features.test), features.train_labels)
            scores.append(top_k(found, features.test_labels, features.classes))
    return {name: sum(score[name] for score in scores) / restarts for name in scores[0]}
