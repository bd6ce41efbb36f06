"""The weight decay is chosen on held-out training images, as scikit-learn would; the test split decides nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from protocols.evaluate.linear import linear, standardized
from protocols.evaluate.linear_tuned import CHOICES, DEFAULT_L2, chosen_weight_decay, linear_tuned
from protocols.features.features import Features, stratified_subset


def features(n=120, d=40, classes=3, noise=3.0) -> Features:
    """Few images of many features, so that the weight decay matters."""
    g = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, d, generator=g)

    def split(size: int):
        labels = torch.arange(size) % classes
        return centres[labels] + noise * torch.randn(size, d, generator=g), labels

    return Features(*split(n), *split(300), classes, seed=0)


def test_the_choice_is_that_of_scikit_learn_on_the_same_parts():
    some = standardized(features())
    fit = stratified_subset(some.train_labels, 0.8, 0).numpy()
    held_out = np.setdiff1d(np.arange(120), fit)
    assert len(held_out) == 24
    x, y = some.train.numpy(), some.train_labels.numpy()
    accuracies = []
    for l2 in CHOICES:
        classifier = LogisticRegression(C=1 / (l2 * len(fit)), max_iter=20_000, tol=1e-8).fit(x[fit], y[fit])
        accuracies.append(classifier.score(x[held_out], y[held_out]))
    assert len(set(accuracies)) > 1
    assert chosen_weight_decay(some, 0.2) == CHOICES[int(np.argmax(accuracies))]


def test_it_is_linear_with_that_weight_decay_on_the_whole_training_split():
    some = features()
    chosen = chosen_weight_decay(standardized(some), 0.2)
    assert chosen != DEFAULT_L2
    assert linear_tuned(some) == linear(some, l2=chosen)


def test_the_test_split_decides_nothing():
    some = features()
    other = replace(some, test=some.test.flip(0) * 5, test_labels=(some.test_labels + 1) % 3)
    assert chosen_weight_decay(some, 0.2) == chosen_weight_decay(other, 0.2)


def test_without_an_image_to_spare_the_weight_decay_is_that_of_linear():
    some = features(n=3)
    assert chosen_weight_decay(some, 0.2) == DEFAULT_L2
    assert linear_tuned(some) == linear(some)


def test_of_equal_accuracies_the_strongest_decay_is_taken():
    some = features(n=60, noise=1e-3)
    assert chosen_weight_decay(standardized(some), 0.2) == CHOICES[0] == max(CHOICES)


@pytest.mark.parametrize("held_out", [0.1, 0.5])
def test_as_many_images_are_held_out_as_asked_for(held_out, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "protocols.evaluate.linear_tuned.top_k", lambda scores, labels, _: seen.append(len(labels)) or {"top1": 0.0}
    )
    chosen_weight_decay(features(), held_out)
    assert set(seen) == {round(120 * held_out)}
