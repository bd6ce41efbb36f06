import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.relation import RelationHead, pair_index
from methods.relational import Relational
from protocols.backbones.small import Conv4


def slow_pairs(views: int, images: int) -> list[tuple[int, int, int]]:
    """The pairing as the paper's code does it: blocks of views, a shift that grows and wraps to 1."""
    pairs, shift = [], 1
    for i in range(views - 1):
        for j in range(i + 1, views):
            pairs += [(i * images + m, j * images + m, 1) for m in range(images)]
            pairs += [(i * images + m, j * images + (m - shift) % images, 0) for m in range(images)]
            shift += 1
            if shift >= images:
                shift = 1
    return pairs


@pytest.mark.parametrize(("views", "images"), [(2, 2), (2, 5), (4, 3), (5, 16)])
def test_pairs_are_those_of_the_papers_code(views, images):
    """Rows that are told apart by their numbers: the head's blocks must hold the slow list's pairs in its order."""
    pairs = []
    for i, partners in enumerate(pair_index(views, images, torch.device("cpu")).partners):
        rows = partners.view(-1, 2, images)
        pairs += [
            (i * images + m, int(row), int(kind == 0))
            for block in rows
            for kind, some in enumerate(block)
            for m, row in enumerate(some)
        ]
    assert pairs == slow_pairs(views, images)


@pytest.mark.parametrize(("views", "pairs"), [(32, 63_488), (25, 38_400), (16, 15_360)])
def test_number_of_pairs_at_64_images(views, pairs):
    logits = RelationHead(8, "cat", hidden=4)(torch.randn(views * 64, 8), views)
    assert logits.numel() == pairs == 64 * views * (views - 1)
    assert logits.shape[1] == 2


@pytest.mark.parametrize(
    ("aggregation", "dim", "parameters"), [("cat", 64, 33_793), ("sum", 64, 17_409), ("cat", 512, 263_169)]
)
def test_head_sizes_are_the_papers(aggregation, dim, parameters):
    head = RelationHead(dim, aggregation, hidden=256)
    assert sum(p.numel() for p in head.parameters()) == parameters


AGGREGATE = {
    "cat": lambda a, b: torch.cat([a, b], dim=1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "max": torch.maximum,
}


@pytest.mark.parametrize("aggregation", AGGREGATE)
@pytest.mark.parametrize("reference", [False, True])
def test_head_equals_the_materialised_one(aggregation, reference):
    """Aggregate every pair, then Linear, BatchNorm over all pairs, LeakyReLU, Linear: values and gradients."""
    torch.manual_seed(0)
    head = RelationHead(10, aggregation, hidden=8).train()
    head.reference |= reference
    first, second, _ = (torch.tensor(column) for column in zip(*slow_pairs(4, 6), strict=True))
    z = torch.randn(24, 10, requires_grad=True)
    logits = head(z, 4).flatten()
    weights = torch.randn_like(logits)
    grads = torch.autograd.grad((logits * weights).sum(), [z, *head.parameters()])

    pairs = AGGREGATE[aggregation](z[first], z[second])
    hidden = F.batch_norm(head.first(pairs), None, None, head.norm.weight, head.norm.bias, training=True)
    expected_logits = head.last(F.leaky_relu(hidden, 0.01)).squeeze(1)
    expected = torch.autograd.grad((expected_logits * weights).sum(), [z, *head.parameters()])

    torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)
    for got, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_plain_cross_entropy_and_focal_form():
    torch.manual_seed(0)
    batch = Batch(torch.rand(64, 3, 16, 16), torch.arange(32))
    backbone, info = Conv4(), RunInfo(classes=10, images=8, side=16, steps=1, seed=0)
    losses = {}
    for loss in ("bce", "focal"):
        torch.manual_seed(1)
        losses[loss] = Relational(backbone, Relational.Options(views=2, loss=loss), info)(batch)["loss"].item()
    assert losses["bce"] == pytest.approx(0.69, abs=0.1)
    assert losses["focal"] == pytest.approx(0.087, abs=0.03)
