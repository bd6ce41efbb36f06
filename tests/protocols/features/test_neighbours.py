"""Nearest neighbours against scikit-learn, and against themselves asked otherwise."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from protocols.features import neighbours
from protocols.features.neighbours import Neighbours, concatenate, nearest, nearest_others, unit


def points(n: int, d: int = 24, seed: int = 0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).relu() + 0.01


def same(one: Neighbours, other: Neighbours) -> bool:
    return torch.equal(one.index, other.index) and torch.equal(one.similarity, other.similarity)


def by_hand(queries, bank, k: int):
    """In Python's own whole numbers."""
    whole = [[[round(x * 2**26) for x in row] for row in unit(some).double().tolist()] for some in (queries, bank)]
    rows = []
    for query in whole[0]:
        dots = [sum(a * b for a, b in zip(query, row, strict=True)) for row in whole[1]]
        rows.append(sorted(range(len(dots)), key=lambda i: (-dots[i], i))[:k])
    return torch.tensor(rows, dtype=torch.int32)


@pytest.mark.parametrize("k", [1, 15, 200])
def test_neighbours_are_scikit_learns(k):
    queries, bank = points(100), points(700, seed=1)
    reference = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.double().numpy())
    distance, index = reference.kneighbors(queries.double().numpy())
    found = nearest(queries, bank, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.similarity, 1 - distance, atol=1e-6)
    assert found.index.dtype == torch.int32


def test_others_are_scikit_learns_without_itself():
    some = points(300)
    reference = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute").fit(some.double().numpy())
    np.testing.assert_array_equal(nearest_others(some, 7).index, reference.kneighbors(return_distance=False))


def test_fewer_than_asked_for():
    assert nearest(points(3), points(5), 20).index.shape == (3, 5)
    assert nearest_others(points(5), 20).index.shape == (5, 4)


def test_of_equals_the_first_comes_first_and_nobody_is_its_own_neighbour():
    some = torch.ones(60, 4)
    assert nearest(some[:2], some, 3).index.tolist() == [[0, 1, 2]] * 2
    others = nearest_others(some, 3).index
    assert others[0].tolist() == [1, 2, 3]
    assert others[50].tolist() == [0, 1, 2]
    assert not (others == torch.arange(60)[:, None]).any()


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_near_ties_are_ranked_exactly_in_any_precision(precision):
    """Neighbours closer to each other than the search can tell: a float32 product alone gets many of them wrong."""
    centre = points(1)
    bank = centre + 2e-7 * torch.randn(400, 24, generator=torch.Generator().manual_seed(2))
    queries = centre + 2e-7 * torch.randn(5, 24, generator=torch.Generator().manual_seed(3))
    expected = by_hand(queries, bank, 10)
    assert torch.equal(nearest(queries, bank, 10, precision=precision).index, expected)
    naive = (F.normalize(queries) @ F.normalize(bank).T).topk(10).indices
    assert not torch.equal(naive.int(), expected)


def test_a_query_is_answered_alike_in_any_company(monkeypatch):
    """Alone, among others, in another order and in small blocks; features with near ties included."""
    bank = torch.cat([points(500), points(500) + 1e-7, points(30).repeat(3, 1)])
    queries = torch.cat([points(60) + 5e-8, points(40, seed=3)])
    whole = nearest(queries, bank, 12)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    shuffled = nearest(queries[order], bank, 12)
    assert same(shuffled, Neighbours(whole.similarity[order], whole.index[order]))
    assert same(concatenate([nearest(query[None], bank, 12) for query in queries]), whole)
    monkeypatch.setitem(neighbours.SIMILARITIES_PER_BLOCK, "cpu", 7 * len(bank))
    monkeypatch.setattr(neighbours, "EXACT_SIMILARITIES_PER_BLOCK", 2 * len(bank))
    assert same(nearest(queries, bank, 12), whole)


def test_unit_rows_are_normalised_and_a_zero_stays_zero():
    some = torch.cat([points(20), torch.zeros(1, 24)])
    torch.testing.assert_close(unit(some), F.normalize(some))
