from collections import defaultdict, deque

import pytest
import torch
from torch.nn import functional as F

from methods import graph
from methods.graph import EMPTY, Bank, RingBuffer, edge_list, exclude_self, merge_neighbours


def features(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block", [1, 40, 2**26])
def test_a_bank_finds_who_was_near_before_it_is_written(monkeypatch, block):
    """Against a dictionary of what was written; in blocks of any size."""
    monkeypatch.setattr(graph, "SIMILARITIES_PER_BLOCK", block)
    bank, known = Bank(20, 6), {}
    for step in range(12):
        index = torch.randperm(20, generator=torch.Generator().manual_seed(step))[:5]
        queries = features(5, 100 + step)
        ids, cosines = bank.query_and_update(index, queries, 4)
        for query, found, values in zip(queries, ids.tolist(), cosines.tolist(), strict=True):
            similarity = {i: float(F.cosine_similarity(query, other, dim=0)) for i, other in known.items()}
            similarity |= {-1 - i: 0.0 for i in range(20) if i not in known}  # zeros, as good as any other
            best = sorted(similarity, key=lambda i: -similarity[i])[:4]
            assert found == [max(i, EMPTY) for i in best]
            assert values == pytest.approx([similarity[i] for i in best], abs=1e-5)
        known |= dict(zip(index.tolist(), queries, strict=True))
    torch.testing.assert_close(bank.features[list(known)], F.normalize(torch.stack(list(known.values()))))


def test_a_ring_holds_the_last_written():
    ring = RingBuffer(8, window=3, width=2, empty=EMPTY)
    known = defaultdict(lambda: deque([[EMPTY, EMPTY]] * 3, maxlen=3))
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        index = torch.randperm(8, generator=generator)[:3]
        values = torch.randint(100, (3, 2), generator=generator)
        ring.write(index, values)
        for i, pair in zip(index.tolist(), values.tolist(), strict=True):
            known[i].append(pair)
    assert ring.slots.dtype == torch.int32
    for i in range(8):
        assert sorted(ring.slots[i].tolist()) == sorted(known[i])
        assert ring.read(torch.tensor([i])).tolist() == [ring.slots[i].flatten().tolist()]


def test_others_are_the_first_without_the_image():
    ids = torch.tensor([[4, 7, 1, 9], [1, 4, 7, 9], [1, 7, 9, 4], [1, 2, EMPTY, EMPTY]])
    assert exclude_self(ids, torch.full((4,), 4), 2).tolist() == [[7, 1], [1, 7], [1, 7], [1, 2]]
    assert exclude_self(ids, torch.full((4,), 1), 3).tolist() == [[4, 7, 9], [4, 7, 9], [7, 9, 4], [2, EMPTY, EMPTY]]


def test_vote_sums_by_neighbour():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 7, (30, 12), generator=generator)
    cosines = torch.rand(30, 12, generator=generator)
    best, sums = merge_neighbours(ids, cosines, 4)
    for row in range(30):
        totals = defaultdict(float)
        for i, value in zip(ids[row].tolist(), cosines[row].tolist(), strict=True):
            totals[i] += value
        totals.pop(EMPTY, None)
        expected = sorted(totals, key=lambda i: -totals[i])[:4]
        assert best[row].tolist()[: len(expected)] == expected
        assert sums[row].tolist()[: len(expected)] == pytest.approx([totals[i] for i in expected])


def test_vote_marks_what_is_missing():
    best, sums = merge_neighbours(torch.tensor([[5, 5, EMPTY]]), torch.tensor([[0.5, 0.25, 0.9]]), 3)
    assert best[0, 0] == 5
    assert sums.tolist() == [[0.75, float("-inf"), float("-inf")]]


def test_edge_list_leads_from_the_node_to_whom_it_chose():
    ring = torch.tensor([[1, 1, EMPTY], [EMPTY, 0, 2], [EMPTY] * 3], dtype=torch.int32)
    assert edge_list(ring).tolist() == [[0, 0, 1, 1], [1, 1, 0, 2]]
