import time

import pytest
import torch
from torch.nn import functional as F

from methods.memory import Queue, topk


def rows(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def test_a_queue_holds_the_last_pushed():
    """Against a list: oldest out first, whatever the sizes of the batches, the random start among them."""
    queue = Queue(10, 4)
    known = list(queue.embeddings.clone())
    for step, n in enumerate((3, 3, 3, 3, 7, 1, 25, 4, 10)):
        queue.push(rows(n, step))
        known = (known + list(F.normalize(rows(n, step))))[-10:]
        start = int(queue.pointer)
        assert torch.equal(torch.cat([queue.embeddings[start:], queue.embeddings[:start]]), torch.stack(known))


def test_a_queue_starts_with_different_directions():
    queue = Queue(50, 4)
    torch.testing.assert_close(queue.embeddings.norm(dim=1), torch.ones(50))
    assert len(queue.embeddings.unique(dim=0)) == 50


def test_nearest_is_that_of_the_largest_cosine():
    torch.manual_seed(0)
    queue = Queue(30, 4)
    wanted = rows(6, 1) * 9
    for row, found in zip(wanted, queue.nearest(wanted), strict=True):
        best = max(queue.embeddings, key=lambda other: float(F.cosine_similarity(row, other, dim=0)))
        assert torch.equal(found, best)


@pytest.mark.parametrize(("columns", "k"), [(10, 3), (5000, 1), (5000, 10), (4999, 200), (50_000, 10), (700, 700)])
def test_topk_is_torchs(columns, k):
    """Whether rows are divided into groups or not, whole or with a rest."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(7, columns, generator=g)
    x[1] = x[1].round()  # ties
    x[2] = x[2].sort().values
    x[3] = -x[3].abs().sort().values
    x[4, -1] = 9.0
    values, index = topk(x, k)
    assert torch.equal(values, x.topk(k, dim=1).values)
    assert torch.equal(x.gather(1, index), values)
    assert all(len(row.unique()) == k for row in index)
    different = [0, 2, 3, 4, 5, 6]
    assert torch.equal(index[different], x.topk(k, dim=1).indices[different])
    halves = x.half()
    assert torch.equal(topk(halves, k)[0], halves.topk(k, dim=1).values)


def test_topk_of_long_rows_is_several_times_as_fast():
    """Nearest neighbours among 50,000 images."""
    x = torch.randn(64, 50_000)

    def seconds(function) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(lambda: topk(x, 10)) < 0.6 * seconds(lambda: x.topk(10, dim=1))
