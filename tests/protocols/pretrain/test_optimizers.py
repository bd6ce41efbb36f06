import copy
import dataclasses

import pytest
import torch
from timm.optim.lars import Lars
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from protocols.pretrain.optimizers import apply_schedules, build_optimizer, clip_gradients, weight_decay_groups
from protocols.pretrain.schedules import weight_decay
from protocols.spec.protocol import Pretrain

PLAIN = Pretrain(epochs=1, lr=0.5, weight_decay=0.04)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def gradients(module: nn.Module) -> dict[nn.Parameter, torch.Tensor]:
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape)
    return {p: p.grad.clone() for p in module.parameters()}


def test_weight_decay_moves_along_half_a_cosine():
    moving = dataclasses.replace(PLAIN, final_weight_decay=0.4)
    assert [weight_decay(moving, at) for at in (0.0, 0.5, 1.0)] == pytest.approx([0.04, 0.22, 0.4])
    assert [weight_decay(PLAIN, at) for at in (0.0, 0.5, 1.0)] == [0.04] * 3


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_biases_and_norms_are_not_decayed_and_stay_so(name):
    module = network()
    settings = dataclasses.replace(PLAIN, optimizer=name, final_weight_decay=0.4)
    optimizer = build_optimizer(module, settings)
    apply_schedules(optimizer, settings, 1.0)
    decayed = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decayed[p] for p in module.parameters()] == pytest.approx([0.4, 0, 0, 0, 0.4, 0])


@pytest.mark.parametrize("clip", [False, True])
def test_lars_steps_by_a_fraction_of_the_norm(clip):
    """One step from rest: rate · trust · |w| / |g + decay|, the fraction at most the rate if it is clipped."""
    module = network()
    settings = dataclasses.replace(PLAIN, optimizer="lars", trust_coefficient=0.9, clip_trust_ratio=clip)
    optimizer, before = build_optimizer(module, settings), [p.detach().clone() for p in module.parameters()]
    given = gradients(module)
    optimizer.step()
    for old, (parameter, gradient) in zip(before, given.items(), strict=True):
        moved = old - 0.5 * gradient
        if parameter.ndim > 1:
            trust = 0.9 * old.norm() / (gradient.norm() + 0.04 * old.norm())
            trust = min(trust / 0.5, 1.0) if clip else trust
            moved = old - 0.5 * trust * (gradient + 0.04 * old)
        torch.testing.assert_close(parameter.detach(), moved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("clip", [False, True])
def test_lars_is_timms_bit_for_bit(clip):
    """Several steps at different rates, with weights of zero and gradients that are zero or missing."""
    settings = dataclasses.replace(PLAIN, optimizer="lars", momentum=0.9, clip_trust_ratio=clip)
    ours, theirs = network(), network()
    extra = [torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.ones(2, 2))]
    ours.extra, theirs.extra = (nn.ParameterList([nn.Parameter(p.clone()) for p in extra]) for _ in range(2))
    reference = Lars(
        weight_decay_groups(list(theirs.parameters()), settings.weight_decay),
        lr=settings.lr, momentum=0.9, trust_coeff=settings.trust_coefficient, trust_clip=clip,
    )  # fmt: skip
    optimizer = build_optimizer(ours, settings)
    for step in range(4):
        given = gradients(ours)
        ours.extra[1].grad = None if step == 1 else torch.zeros(2, 2)
        for mine, other in zip(given, theirs.parameters(), strict=True):
            other.grad = None if mine.grad is None else mine.grad.clone()
        for one in (optimizer, reference):
            apply_schedules(one, settings, step / 4)
            one.step()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(mine, other)
        if step == 2:  # a checkpoint of timm's goes on here
            optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))


class CountDispatches(TorchDispatchMode):
    """Counts operations that are no views."""

    names: list[str]

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.namespace == "aten" and not operation.is_view:
            self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip", [False, True])
def test_operations_of_lars_do_not_grow_with_the_layers(clip):
    module = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Linear(3, 3), nn.BatchNorm1d(3))))
    settings = dataclasses.replace(PLAIN, optimizer="lars", momentum=0.9, clip_trust_ratio=clip)
    optimizer, counted = build_optimizer(module, settings), CountDispatches()
    for _ in range(2):
        gradients(module)
        counted.names = []
        with counted:
            optimizer.step()
    assert len(counted.names) <= 18


def test_every_gradient_is_clipped_on_its_own():
    module = network()
    given = gradients(module)
    clip_gradients(build_optimizer(module, PLAIN), 2.0)
    for parameter, gradient in given.items():
        torch.testing.assert_close(
            parameter.grad, gradient * min(1.0, 2.0 / gradient.norm().item()), atol=1e-5, rtol=1e-5
        )
    assert any(gradient.norm() > 2 for gradient in given.values())
    assert any(gradient.norm() < 2 for gradient in given.values())


def test_tiny_gradients_are_clipped_as_torch_clips_them():
    """It adds 1e-6 to the norm."""
    ours, theirs = network(), network()
    for module in (ours, theirs):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 1e-7)
    clip_gradients(build_optimizer(ours, PLAIN), 2e-7)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        nn.utils.clip_grad_norm_([other], 2e-7)
        torch.testing.assert_close(mine.grad, other.grad, atol=0, rtol=1e-5)
