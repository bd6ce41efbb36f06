import dataclasses

import pytest
import torch
from torch import nn

from protocols.pretrain.optimizers import apply_schedules, build_optimizer, clip_gradients
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
