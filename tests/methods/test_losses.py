import math

import pytest
import torch
from torch.nn import functional as F

from methods.losses import (
    cross_correlation_loss,
    focal_with_logits,
    info_nce_in_batch,
    info_nce_with_queue,
    jensen_shannon,
    negative_cosine,
    nt_xent,
    self_distillation,
    variance_invariance_covariance,
)


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


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 4.0])
def test_focal_has_a_gradient_wherever_the_prediction_is_certain(gamma):
    """In float32, where probabilities round to 1 and cross-entropies to 0: as in float64, to its rounding."""
    logits = torch.tensor([-200.0, -90.0, -20.0, -17.0, -5.0, 0.0, 5.0, 17.0, 20.0, 90.0, 200.0])
    found = {}
    for dtype in (torch.float32, torch.float64):
        x = logits.to(dtype).repeat(2).requires_grad_()
        targets = torch.arange(2, dtype=dtype).repeat_interleave(len(logits))
        loss = focal_with_logits(x, targets, gamma=gamma, alpha=0.5)
        (gradient,) = torch.autograd.grad(loss, x)
        found[dtype] = torch.stack([loss.detach().expand_as(gradient), gradient]).double()
    assert found[torch.float32].isfinite().all()
    torch.testing.assert_close(found[torch.float32], found[torch.float64], rtol=1e-4, atol=1e-8)


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


def test_jensen_shannon_is_the_definition():
    same, other = embeddings(6), embeddings(9, seed=1)
    accepted = [math.log(1 + math.exp(-x)) for x in same.flatten().tolist()]
    rejected = [math.log(1 + math.exp(x)) for x in other.flatten().tolist()]
    expected = sum(accepted) / len(accepted) + sum(rejected) / len(rejected)
    assert jensen_shannon(same, other).item() == pytest.approx(expected, abs=1e-6)


def test_losses_leave_autocast():
    z = embeddings(32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = nt_xent(z.bfloat16(), temperature=0.1)
    torch.testing.assert_close(inside, nt_xent(z.bfloat16().float(), temperature=0.1))


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a, b, dim=0))


def test_info_nce_with_queue_is_the_definition():
    q, k, queue = embeddings(5), embeddings(5, seed=1), F.normalize(embeddings(9, seed=2))
    expected = 0.0
    for i in range(5):
        positive = math.exp(cosine(q[i], k[i]) / 0.2)
        expected -= math.log(positive / (positive + sum(math.exp(cosine(q[i], n) / 0.2) for n in queue)))
    assert info_nce_with_queue(q, k, queue, temperature=0.2).item() == pytest.approx(expected / 5, abs=1e-5)


def test_info_nce_with_queue_is_lightlys_and_spares_the_keys():
    lightly = pytest.importorskip("lightly.loss")
    q, k, queue = embeddings(5).requires_grad_(), embeddings(5, seed=1).requires_grad_(), embeddings(9, seed=2)
    theirs = lightly.NTXentLoss(temperature=0.1, memory_bank_size=(9, 7))
    theirs.memory_bank.bank = F.normalize(queue)
    loss = info_nce_with_queue(q, k, F.normalize(queue), temperature=0.1)
    torch.testing.assert_close(loss, theirs(q, k.detach()), atol=1e-5, rtol=0)
    loss.backward()
    assert k.grad is None


def test_info_nce_in_batch_is_the_definition():
    a, b = embeddings(6), embeddings(6, seed=1)
    expected = 0.0
    for i in range(6):
        weights = [math.exp(cosine(a[i], b[j]) / 0.1) for j in range(6)]
        expected -= math.log(weights[i] / sum(weights))
    assert info_nce_in_batch(a, b, temperature=0.1).item() == pytest.approx(expected / 6, abs=1e-5)


def test_info_nce_in_batch_is_lightlys_with_the_other_candidates_as_queue():
    lightly = pytest.importorskip("lightly.loss")
    a, b = embeddings(6), embeddings(6, seed=1)
    rows = []
    for i in range(6):
        theirs = lightly.NTXentLoss(temperature=0.1, memory_bank_size=(5, 7))
        theirs.memory_bank.bank = F.normalize(torch.cat([b[:i], b[i + 1 :]]))
        rows.append(theirs(a[i : i + 1], b[i : i + 1]))
    torch.testing.assert_close(info_nce_in_batch(a, b, temperature=0.1), torch.stack(rows).mean(), atol=1e-5, rtol=0)


def slow_standardised(z: torch.Tensor) -> list[list[float]]:
    columns = []
    for column in z.T.tolist():
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column) + 1e-5)
        columns.append([(x - mean) / deviation for x in column])
    return columns


def test_cross_correlation_is_the_definition():
    first, second = embeddings(8, 4), embeddings(8, 4, seed=1)
    expected = 0.0
    for i, x in enumerate(slow_standardised(first)):
        for j, y in enumerate(slow_standardised(second)):
            c = sum(p * q for p, q in zip(x, y, strict=True)) / 8
            expected += (1 - c) ** 2 if i == j else 0.3 * c**2
    assert cross_correlation_loss(first, second, redundancy=0.3).item() == pytest.approx(expected, abs=1e-5)


def test_cross_correlation_is_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    first, second = embeddings(16, 9), embeddings(16, 9, seed=1)
    expected = lightly.BarlowTwinsLoss(lambda_param=0.0051)(first, second)
    torch.testing.assert_close(cross_correlation_loss(first, second, redundancy=0.0051), expected, atol=1e-5, rtol=0)


def slow_vicreg(first: torch.Tensor, second: torch.Tensor, weights: tuple[float, float, float]) -> float:
    n, d = first.shape
    invariance = sum((x - y) ** 2 for x, y in zip(first.flatten(), second.flatten(), strict=True)) / (n * d)
    variance = covariance = 0.0
    for z in (first, second):
        centred = [[x - sum(column) / n for x in column] for column in z.T.tolist()]
        for i, x in enumerate(centred):
            variance += max(0.0, 1 - math.sqrt(sum(v * v for v in x) / (n - 1) + 1e-4)) / d / 2
            for j, y in enumerate(centred):
                covariance += (i != j) * (sum(p * q for p, q in zip(x, y, strict=True)) / (n - 1)) ** 2 / d
    return float(weights[0] * invariance + weights[1] * variance + weights[2] * covariance)


def test_vicreg_is_the_definition():
    first, second = embeddings(8, 4), 0.7 * embeddings(8, 4, seed=1)
    loss = variance_invariance_covariance(first, second, invariance=2.0, variance=3.0, covariance=5.0)
    assert loss.item() == pytest.approx(slow_vicreg(first, second, (2.0, 3.0, 5.0)), abs=1e-5)


def test_vicreg_is_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    first, second = embeddings(16, 9), 0.5 * embeddings(16, 9, seed=1)
    loss = variance_invariance_covariance(first, second, invariance=25.0, variance=25.0, covariance=1.0)
    torch.testing.assert_close(loss, lightly.VICRegLoss()(first, second), atol=1e-5, rtol=0)


def logits(views: int, seed: int, images: int = 4, prototypes: int = 5) -> torch.Tensor:
    return torch.randn(views, images, prototypes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("crops", [0, 3])
def test_self_distillation_is_the_definition(crops):
    student, teacher, centre = logits(2 + crops, 0), logits(2, 1), torch.linspace(-1, 1, 5)
    terms = []
    for t in range(2):
        for s in range(2 + crops):
            for i in range(4):
                if s != t:
                    p = [math.exp((x - c) / 0.3) for x, c in zip(teacher[t, i].tolist(), centre.tolist(), strict=True)]
                    q = [math.exp(x / 0.5) for x in student[s, i].tolist()]
                    terms.append(-sum(a / sum(p) * math.log(b / sum(q)) for a, b in zip(p, q, strict=True)))
    loss = self_distillation(student, teacher, centre, student_temperature=0.5, teacher_temperature=0.3)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), abs=1e-5)


@pytest.mark.parametrize("crops", [0, 3])
def test_self_distillation_is_lightlys_and_spares_the_teacher(crops):
    lightly = pytest.importorskip("lightly.loss")
    student, teacher = logits(2 + crops, 0).requires_grad_(), logits(2, 1).requires_grad_()
    theirs = lightly.DINOLoss(5, teacher_temp=0.04, student_temp=0.1)
    theirs.center.copy_(torch.linspace(-1, 1, 5))
    loss = self_distillation(
        student, teacher, torch.linspace(-1, 1, 5), student_temperature=0.1, teacher_temperature=0.04
    )
    torch.testing.assert_close(loss, theirs(list(teacher.detach()), list(student)), atol=1e-5, rtol=0)
    loss.backward()
    assert teacher.grad is None
