"""Few labelled images of every class, drawn several times."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from protocols.evaluate.few_shot import few_shot
from protocols.evaluate.linear import linear, standardized
from protocols.features.features import Features, first_of_every_class
from protocols.system.randomness import permutation


def features(n=300, classes=4) -> Features:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 10, generator=g)

    def split(size: int):
        labels = torch.randint(classes, (size,), generator=g)
        return centres[labels] + 1.5 * torch.randn(size, 10, generator=g), labels

    return Features(*split(n), *split(200), classes, seed=0)


def test_the_mean_and_the_spread_are_those_of_scikit_learns_classifier_on_the_same_images():
    some = standardized(features())
    x, y = some.train.numpy(), some.train_labels.numpy()
    accuracies = []
    for draw in range(4):
        order = permutation(300, 0, "few-shot", draw).numpy()
        index = np.concatenate([[i for i in order if y[i] == label][:5] for label in range(4)])
        classifier = LogisticRegression(C=1 / (1e-2 * len(index)), max_iter=5000, tol=1e-8).fit(x[index], y[index])
        accuracies.append(100 * classifier.score(some.test.numpy(), some.test_labels.numpy()))
    found = few_shot(features(), shots=5, draws=4)
    assert found["top1"] == pytest.approx(np.mean(accuracies), abs=0.3)
    assert found["top1_std"] == pytest.approx(np.std(accuracies, ddof=1), abs=0.3)
    assert found["top1_std"] > 0.5


def test_every_class_has_so_many_images_or_all_that_it_has():
    labels = torch.tensor([0] * 50 + [1] * 3 + [3] * 20)[torch.randperm(73)]
    index = first_of_every_class(labels, torch.randperm(73), 5)
    assert index.tolist() == sorted(set(index.tolist()))
    assert labels[index].bincount(minlength=4).tolist() == [5, 3, 0, 5]


def test_all_images_of_a_class_are_linear():
    some = features()
    found = few_shot(some, shots=300, draws=2)
    assert found == {"top1": pytest.approx(linear(some, l2=1e-2)["top1"]), "top1_std": 0.0}


def test_one_draw_has_no_spread_and_more_shots_help():
    some = features()
    assert list(few_shot(some, draws=1)) == ["top1"]
    assert few_shot(some, shots=1)["top1"] < few_shot(some, shots=20)["top1"]
