import math

import pytest
import torch
from torch.nn import functional as F

from methods.losses import focal_with_logits, negative_cosine, nt_xent


def embeddings(n: int, d: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def slow_positive_probabilities(z: torch.Tensor, temperature: float) -> list[float]:
    """p of every embedding, by the definition: one loop a sum."""
    n, half = len(z), len(z) // 2
    ps = []
    for i in range(n):
        weights = [
            math.exp(float(F.cosine_similarity(z[i], z[j], dim=0)) / temperature) if j != i else 0.0 for j in range(n)
        ]
        ps.append(weights[(i + half) % n] / sum(weights))
    return ps


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("log_of_mean", [False, True])
def test_nt_xent_is_the_definition(temperature, log_of_mean):
    z = embeddings(12)
    ps = slow_positive_probabilities(z, temperature)
    expected = -math.log(sum(ps) / len(ps)) if log_of_mean else -sum(map(math.log, ps)) / len(ps)
    assert nt_xent(z, temperature=temperature, log_of_mean=log_of_mean).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_lightlys(temperature):
    lightly = pytest.importorskip("lightly.loss")
    z = embeddings(16)
    expected = lightly.NTXentLoss(temperature=temperature)(*z.chunk(2))
    torch.testing.assert_close(nt_xent(z, temperature=temperature), expected, atol=1e-5, rtol=0)


def test_nt_xent_of_perfect_views_of_orthogonal_images():
    """With n images on orthogonal axes: p = e^(1/t) / (e^(1/t) + 2n - 2)."""
    z = torch.eye(5).repeat(2, 1)
    p = math.exp(2) / (math.exp(2) + 8)
    assert nt_xent(z, temperature=0.5).item() == pytest.approx(-math.log(p), abs=1e-5)


def test_nt_xent_ignores_scale_and_order_of_images():
    z = embeddings(10)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = torch.cat([z[order], z[order + 5]])
    torch.testing.assert_close(nt_xent(z, temperature=0.3), nt_xent(shuffled * 9, temperature=0.3))


def test_negative_cosine_is_lightlys_and_spares_the_target():
    lightly = pytest.importorskip("lightly.loss")
    p, z = embeddings(8).requires_grad_(), embeddings(8, seed=1).requires_grad_()
    loss = negative_cosine(p, z)
    torch.testing.assert_close(loss, 2 + 2 * lightly.NegativeCosineSimilarity()(p, z), atol=1e-5, rtol=0)
    loss.backward()
    assert p.grad is not None
    assert z.grad is None


def test_negative_cosine_is_the_squared_distance_of_normalised_vectors():
    p, z = embeddings(8), embeddings(8, seed=1)
    expected = (F.normalize(p) - F.normalize(z)).square().sum(1).mean()
    torch.testing.assert_close(negative_cosine(p, z), expected)


def test_focal_is_the_definition():
    logits, targets = embeddings(20, 1).squeeze(1) * 3, (torch.arange(20) % 3 == 0).float()
    expected = 0.0
    for x, t in zip(logits.tolist(), targets.tolist(), strict=True):
        y = 1 / (1 + math.exp(-x))
        truth = y if t else 1 - y
        expected += (0.3 if t else 0.7) * (1 - truth) ** 1.5 * -math.log(truth)
    loss = focal_with_logits(logits, targets, gamma=1.5, alpha=0.3)
    assert loss.item() == pytest.approx(expected / 20, abs=1e-5)


def test_focal_is_torchvisions():
    ops = pytest.importorskip("torchvision.ops")
    logits, targets = embeddings(20, 1).squeeze(1) * 3, (torch.arange(20) % 2).float()
    expected = ops.sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2, reduction="mean")
    torch.testing.assert_close(focal_with_logits(logits, targets, gamma=2, alpha=0.25), expected)


def test_focal_gradient_flows_through_the_weight():
    """d/dx of 0.5 (1-y)² · -log y at x = 0 is 0.5 · (y (1-y)² · 2 log y - (1-y)³) with y = 1/2."""
    x = torch.zeros(1, requires_grad=True)
    focal_with_logits(x, torch.ones(1), gamma=2.0, alpha=0.5).backward()
    assert x.grad.item() == pytest.approx(0.5 * (2 * 0.125 * math.log(0.5) - 0.125), abs=1e-6)


def test_losses_of_an_untrained_head_are_those_of_the_paper():
    """Fact: plain cross-entropy 0.69, the released focal form about 0.087."""
    logits, targets = torch.zeros(10), (torch.arange(10) % 2).float()
    assert focal_with_logits(logits, targets, gamma=0, alpha=0.5).item() == pytest.approx(0.5 * math.log(2), abs=1e-6)
    assert focal_with_logits(logits, targets, gamma=2, alpha=0.5).item() == pytest.approx(0.0866, abs=1e-4)


def test_losses_leave_autocast():
    z = embeddings(32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = nt_xent(z.bfloat16(), temperature=0.1)
    torch.testing.assert_close(inside, nt_xent(z.bfloat16().float(), temperature=0.1))
