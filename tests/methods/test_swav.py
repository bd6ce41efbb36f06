import math

import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.swav import SwAV
from protocols.backbones.small import Conv4
from tests.tools.parity import assert_same_loss_and_gradient

B, K = 6, 9


def build(**options: float) -> SwAV:
    torch.manual_seed(0)
    small = {"crops": 2, "prototypes": K, "hidden": 16, "output": 5, "freeze": 0.0, "queue_start": 0.0}
    info = RunInfo(classes=3, images=B, side=16, steps=4, seed=0)
    return SwAV(Conv4(), SwAV.Options(**{**small, **options}), info).train()


def batch_of(crops: int = 2, seed: int = 1) -> Batch:
    torch.manual_seed(seed)
    small = (torch.rand(crops * B, 3, 8, 8),) if crops else ()
    return Batch(torch.rand(2 * B, 3, 16, 16), torch.arange(B), None, small)


def slow_loss(z: torch.Tensor, prototypes: torch.Tensor, queues: list[torch.Tensor]) -> torch.Tensor:
    """The released code's steps, for embeddings (views · b, d): assign two views, predict each from all others."""
    views = F.normalize(z).split(B)
    losses = []
    for assigned in range(2):
        with torch.no_grad():
            rows = torch.cat([queues[assigned], views[assigned]]) if queues else views[assigned]
            q = torch.exp(rows.double() @ prototypes.double().T / 0.05).T
            q /= q.sum()
            for _ in range(3):
                q /= q.sum(1, keepdim=True)
                q /= K
                q /= q.sum(0, keepdim=True)
                q /= q.shape[1]
            targets = (q * q.shape[1]).T[-B:].float()
        for other in range(len(views)):
            if other != assigned:
                log_p = F.log_softmax(views[other] @ prototypes.T / 0.1, dim=1)
                losses.append(-(targets * log_p).sum(1).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("crops", "queue"), [(0, 0), (2, 0), (2, 2 * B)])
def test_losses_and_gradients_of_some_steps_are_those_of_the_definition_and_lightlys(crops, queue):
    lightly = pytest.importorskip("lightly.loss")
    method, pushed = build(crops=crops, queue=queue), [[], []]
    for step in range(4):
        batch = batch_of(crops, seed=step)
        z = torch.cat([method.projector(method.backbone(views)) for views in (batch.views, *batch.crops)]).detach()
        full = queue and len(pushed[0]) == 2
        queues = [torch.cat(some) for some in pushed] if full else []

        def ours(z, prototypes, method=method, batch=batch):
            parts = iter(z.split([2 * B, *[crops * B] * bool(crops)]))
            method.projector.forward = lambda _: next(parts)
            return method_loss(method, batch, prototypes)

        def slow(z, prototypes, queues=queues):
            return slow_loss(z, prototypes, queues)

        def lightlys(z, prototypes, queues=queues):
            scores = [F.normalize(one) @ prototypes.T for one in z.split(B)]
            earlier = [one @ prototypes.T for one in queues] or None
            return lightly.SwaVLoss()(scores[:2], scores[2:], earlier).squeeze()

        prototypes = method.prototypes.detach()
        for reference in (slow, lightlys):
            assert_same_loss_and_gradient(ours, reference, z, prototypes, rtol=1e-4)
        del method.projector.forward
        method(batch)
        method.after_step((step + 1) / 4)
        pushed = [[*some, F.normalize(one)][-2:] for some, one in zip(pushed, z.split(B), strict=False)]


def method_loss(method: SwAV, batch: Batch, prototypes: torch.Tensor) -> torch.Tensor:
    """The method's loss as a function of other prototypes than its parameter."""
    return torch.func.functional_call(method, {"prototypes": prototypes}, (batch,))["loss"]


def test_prototypes_have_length_1_and_rest_while_frozen():
    method = build(crops=0, freeze=0.5)
    optimizer = torch.optim.SGD([method.prototypes], lr=1.0)
    before = method.prototypes.detach().clone()
    for progress, moved in ((0.25, False), (0.5, False), (0.75, True)):
        method(batch_of(0))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(progress)
        assert torch.allclose(method.prototypes, before) != moved
        torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(K))


def test_a_collapse_is_a_loss_of_log_k():
    method = build(crops=0)
    method.projector.forward = lambda rows: torch.ones(len(rows), 5)
    method.prototypes.data = F.normalize(torch.ones(K, 5))
    assert method(batch_of(0))["loss"].item() == pytest.approx(math.log(K), abs=1e-5)
    assert method.log_prototypes == math.log(K)


@pytest.mark.parametrize("start", [0.0, 0.75])
def test_the_queue_is_used_once_it_is_full_and_its_time_has_come(start):
    """Until then the loss is that without a queue."""
    with_queue, without = build(crops=0, queue=2 * B, queue_start=start), build(crops=0)
    same = []
    for step in range(4):
        batch = batch_of(0, seed=step)
        same.append(torch.allclose(with_queue(batch)["loss"], without(batch)["loss"]))
        for method in (with_queue, without):
            method.after_step((step + 1) / 4)
    assert same == ([True, True, False, False] if start == 0.0 else [True, True, True, False])
