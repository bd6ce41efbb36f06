"""Whole methods against lightly's criteria, used as lightly uses them, on what a method's own heads make of a batch."""

import pytest
import torch
from torch.nn import functional as F

from methods import METHODS, Batch, RunInfo
from methods.losses import nt_xent
from protocols.backbones.small import Conv4

lightly = pytest.importorskip("lightly.loss")

IMAGES = 12


def build(name: str, **options):
    kind = METHODS.get(name)
    torch.manual_seed(0)
    method = kind(Conv4(), kind.Options(**options), RunInfo(classes=10, images=100, side=16, steps=50, seed=0)).train()
    views = torch.rand(2 * IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    crops = torch.rand(3 * IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return method, Batch(views, torch.arange(IMAGES), None, (crops,) if options.get("crops") else ())


def assert_same(loss: torch.Tensor, expected: torch.Tensor):
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_mocov2(symmetric):
    method, batch = build("mocov2", queue=30, hidden=32, output=8, symmetric=symmetric)
    asked = 2 * IMAGES if symmetric else IMAGES
    queries = method.query_encoder(batch.views[:asked]).detach().split(IMAGES)
    keys = method.key_encoder(batch.views[-asked:]).split(IMAGES)[::-1]
    criterion = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(30, 8))
    criterion.memory_bank.bank = method.queue.embeddings
    losses = [criterion(query, key) for query, key in zip(queries, keys, strict=True)]
    assert_same(method(batch)["loss"], torch.stack(losses).mean())


def test_simsiam():
    method, batch = build("simsiam", hidden=32, output=16, bottleneck=8)
    z = method.projector(method.backbone(batch.views))
    (z1, z2), (p1, p2) = z.detach().chunk(2), method.predictor(z).chunk(2)
    criterion = lightly.NegativeCosineSimilarity()
    assert_same(method(batch)["loss"], 0.5 * (criterion(p1, z2) + criterion(p2, z1)))


def test_nnclr_finds_the_same_neighbours_and_differs_in_its_negatives():
    from lightly.models.modules import NNMemoryBankModule

    method, batch = build("nnclr", queue=30, hidden=32, output=8, bottleneck=16)
    z = method.projector(method.backbone(batch.views)).detach()
    bank = NNMemoryBankModule(size=(30, 8))
    bank.bank = method.queue.embeddings.clone()
    n1, n2 = (bank(some, update=False) for some in z.chunk(2))
    assert_same(method.queue.nearest(z), torch.cat([n1, n2]))

    p1, p2 = method.predictor(method.projector(method.backbone(batch.views))).chunk(2)
    theirs = 0.5 * sum(lightly.NTXentLoss(temperature=0.1)(n, p) for n, p in ((n1, p2), (n2, p1)))
    assert_same(0.5 * sum(nt_xent(torch.cat(pair), temperature=0.1) for pair in ((n1, p2), (n2, p1))), theirs)
    similarity = [F.normalize(n) @ F.normalize(p).T / 0.1 for n, p in ((n1, p2), (n2, p1))]
    ours = 0.5 * sum(F.cross_entropy(logits, torch.arange(IMAGES)) for logits in similarity)
    assert_same(method(batch)["loss"], ours)
    assert theirs > ours


def test_barlow():
    method, batch = build("barlow", hidden=32, output=16, redundancy=0.01, scale=0.1)
    z1, z2 = method.projector(method.backbone(batch.views)).chunk(2)
    assert_same(method(batch)["loss"], 0.1 * lightly.BarlowTwinsLoss(lambda_param=0.01)(z1, z2))


def test_vicreg():
    method, batch = build("vicreg", hidden=32, output=16)
    z1, z2 = method.expander(method.backbone(batch.views)).chunk(2)
    assert_same(method(batch)["loss"], lightly.VICRegLoss()(z1, z2))


@pytest.mark.parametrize("crops", [0, 3])
def test_dino_and_its_centre(crops):
    method, batch = build("dino", crops=crops, prototypes=20, hidden=32, bottleneck=8)
    criterion = lightly.DINOLoss(20, teacher_temp=0.04, student_temp=0.1)
    for _ in range(3):
        teacher = method.teacher(batch.views).logits.chunk(2)
        student = [s for views in (batch.views, *batch.crops) for s in method.student(views).logits.split(IMAGES)]
        assert_same(method(batch)["loss"], criterion(list(teacher), student))
        method.after_step(0.5)
        assert_same(method.centre, criterion.center.flatten())
