import torch
from torch.nn import functional as F

from methods.memory import Queue


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
