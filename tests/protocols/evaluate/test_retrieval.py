"""Retrieval against scikit-learn, and its contact sheet."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

from protocols.datasets.base import Dataset, Split
from protocols.datasets.contact_sheet import MARGIN, OTHER_CLASS, SAME_CLASS, TILE, contact_sheet
from protocols.evaluate import retrieval as module
from protocols.evaluate.retrieval import average_precision, retrieval
from protocols.features.features import Features


def features(n=90, m=40, classes=4) -> Features:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 6, generator=g)

    def split(size):
        labels = torch.randint(classes, (size,), generator=g)
        return centres[labels] + torch.randn(size, 6, generator=g), labels

    return Features(*split(n), *split(m), classes, seed=0)


def slow(some: Features, k: int) -> dict[str, float]:
    similarity = cosine_similarity(some.test.numpy(), some.train.numpy())
    relevant = some.test_labels.numpy()[:, None] == some.train_labels.numpy()
    order = np.argsort(-similarity, axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1)
    aps = [average_precision_score(y, s) if y.any() else 0.0 for y, s in zip(relevant, similarity, strict=True)]
    return {"precision@1": ranked[:, 0].mean(), f"precision@{k}": ranked[:, :k].mean(), "map": np.mean(aps)}


@pytest.mark.parametrize("k", [1, 5, 90])
def test_metrics_are_scikit_learns(k):
    some = features()
    expected = {name: pytest.approx(100 * value, abs=1e-4) for name, value in slow(some, k).items()}
    assert retrieval(some, k=k).metrics == expected


def test_average_precision_with_ties_is_scikit_learns():
    g = torch.Generator().manual_seed(0)
    similarity = torch.randint(5, (30, 40), generator=g).float().sort(dim=1, descending=True).values
    relevant = torch.rand(30, 40, generator=g) < 0.3
    relevant[0] = False
    expected = [
        average_precision_score(y, s) for y, s in zip(relevant[1:].numpy(), similarity[1:].numpy(), strict=True)
    ]
    assert average_precision(similarity, relevant).tolist() == pytest.approx([0.0, *expected])


def test_a_collapsed_representation_retrieves_at_chance():
    some = features()
    constant = Features(torch.ones(90, 6), some.train_labels, torch.ones(40, 6), some.test_labels, 4, 0)
    shares = some.train_labels.bincount() / 90
    assert retrieval(constant).metrics["map"] == pytest.approx(100 * shares[some.test_labels].mean().item(), abs=1e-4)


def test_a_class_without_training_images_counts_as_missed():
    some = features()
    rare = Features(some.train, some.train_labels, some.test, torch.full((40,), 4), 5, 0)
    assert retrieval(rare).metrics == {"precision@1": 0.0, "precision@10": 0.0, "map": 0.0}


def test_retrieval_in_blocks_is_retrieval(monkeypatch):
    some = features()
    whole = retrieval(some)
    monkeypatch.setattr(module, "SIMILARITIES_PER_BLOCK", 90 * 7)
    assert retrieval(some).metrics == pytest.approx(whole.metrics)


def test_more_neighbours_than_images():
    shown = retrieval(features(n=4), k=10)
    assert shown.neighbours.shape == (10, 4)
    assert "precision@4" in shown.metrics


def test_the_nearest_are_shown_of_queries_that_hang_on_the_seed_alone():
    some = features()
    shown = retrieval(some, k=3, queries=5)
    similarity = cosine_similarity(some.test.numpy(), some.train.numpy())[shown.queries]
    assert shown.neighbours.tolist() == np.argsort(-similarity, axis=1)[:, :3].tolist()
    other = Features(some.train[:50] * 2, some.train_labels[:50], some.test, some.test_labels, 4, 0)
    assert retrieval(other, queries=5).queries.tolist() == shown.queries.tolist()


def test_a_contact_sheet_shows_queries_beside_framed_neighbours():
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    images = np.broadcast_to(colours[:, None, :, None], (3, 8, 3, 8))
    some = Split(images, np.array([0, 1, 1]))
    dataset = Dataset("d", ("plane", "bird ü"), (0.5,) * 3, (0.5,) * 3, some, some)
    sheet = contact_sheet(dataset, torch.tensor([0, 1, 2]), torch.tensor([[0, 2], [2, 1], [-1, -1]]))
    step, centre = TILE + MARGIN, TILE // 4

    def at(row, column, inside):
        left = MARGIN + column * step + MARGIN * (column > 0)
        top = MARGIN + row * (sheet.height - MARGIN) // 3
        return sheet.getpixel((left + inside[0], top + inside[1]))

    assert [at(0, c, (centre, centre)) for c in range(3)] == [(250, 0, 0), (250, 0, 0), (0, 0, 250)]
    assert [at(1, c, (centre, centre)) for c in range(3)] == [(0, 250, 0), (0, 0, 250), (0, 250, 0)]
    assert [at(2, c, (centre, centre)) for c in range(3)] == [(0, 0, 250), (255, 255, 255), (255, 255, 255)]
    frames = [[at(row, column, (centre, 0)) for column in (1, 2)] for row in (0, 1)]
    same, other = (tuple(bytes.fromhex(colour[1:])) for colour in (SAME_CLASS, OTHER_CLASS))
    assert frames == [[same, other], [same, same]]
    assert [at(0, column, (TILE - 5, 4)) for column in (1, 2)] == [(250, 0, 0), other]
