"""Accuracies of scores against scikit-learn, also where scores are equal or missing."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from protocols.evaluate.accuracy import calibration_error, mask_absent_classes, top_k
from results.errors import Diverged


def scores_of(n=200, classes=20, levels=None):
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(n, classes, generator=g)
    labels = torch.randint(classes, (n,), generator=g)
    return (scores if levels is None else (scores * levels).round()), labels


def test_accuracies_are_those_of_scikit_learn():
    scores, labels = scores_of()
    expected = {
        f"top{k}": pytest.approx(100 * top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=range(20)))
        for k in (1, 5)
    }
    assert top_k(scores, labels, 20) == expected


def test_of_equal_scores_the_first_class_is_the_prediction():
    scores, labels = scores_of(levels=1)
    assert (scores == scores.amax(1, keepdim=True)).sum(1).max() > 1
    predictions = scores.numpy().argmax(1)
    assert top_k(scores, labels, 20)["top1"] == pytest.approx(100 * accuracy_score(labels.numpy(), predictions))
    ranked = [sorted(range(20), key=lambda c, row=row: (-row[c], c))[:5] for row in scores.tolist()]
    hits = [label in best for label, best in zip(labels.tolist(), ranked, strict=True)]
    assert top_k(scores, labels, 20)["top5"] == pytest.approx(100 * sum(hits) / 200)


@pytest.mark.parametrize("constant", [0.0, -3.0])
def test_scores_that_tell_nothing_are_right_at_chance(constant):
    labels = torch.arange(200) % 20
    assert top_k(torch.full((200, 20), constant), labels, 20) == {"top1": 5.0, "top5": 25.0}


def test_a_class_that_nothing_speaks_for_is_never_right():
    scores = torch.full((20, 20), -math.inf)
    scores[:, 3], scores[:, 7] = 0.0, -50.0
    assert top_k(scores, torch.arange(20), 20) == {"top1": 5.0, "top5": 10.0}
    assert top_k(torch.full((20, 20), -math.inf), torch.arange(20), 20) == {"top1": 0.0, "top5": 0.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_numbers_are_no_result(value):
    scores, labels = scores_of()
    scores[3, 2] = value
    with pytest.raises(Diverged, match="the scores of the classifier are not finite"):
        top_k(scores, labels, 20)


def test_top5_appears_with_more_than_ten_classes():
    assert list(top_k(*scores_of(classes=10), 10)) == ["top1"]
    assert list(top_k(*scores_of(classes=11), 11)) == ["top1", "top5"]


def test_classes_without_training_images_are_masked():
    masked = mask_absent_classes(torch.zeros(2, 5), torch.tensor([3, 1, 1]))
    assert masked.tolist() == [[-math.inf, 0.0, -math.inf, 0.0, -math.inf]] * 2


def test_the_calibration_error_is_the_definition():
    g = torch.Generator().manual_seed(0)
    scores, labels = 2 * torch.randn(400, 6, generator=g), torch.randint(6, (400,), generator=g)
    confidence, prediction = scores.double().softmax(1).max(1)
    total = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            accuracy = (prediction == labels)[inside].double().mean()
            total += inside.double().mean() * (accuracy - confidence[inside].mean()).abs()
    assert calibration_error(scores, labels) == pytest.approx(100 * total.item())
    assert calibration_error(scores, labels) > 20


def test_the_calibration_error_is_that_of_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    g = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(400, 6, generator=g)
    labels = (scores + 3 * torch.randn(400, 6, generator=g)).argmax(1)
    expected = functional.multiclass_calibration_error(scores.softmax(1), labels, 6, n_bins=15, norm="l1").item()
    assert calibration_error(scores, labels) == pytest.approx(100 * expected, abs=1e-3)


def test_what_is_sure_and_right_is_calibrated_and_what_is_sure_and_wrong_is_not():
    scores = 1000 * torch.eye(3)
    assert calibration_error(scores, torch.tensor([0, 1, 2])) == 0.0
    assert calibration_error(scores, torch.tensor([1, 2, 0])) == 100.0
    assert calibration_error(torch.zeros(3, 3), torch.tensor([0, 1, 2])) == pytest.approx(0.0)
