"""BYOL's loss and gradient against loops (Grill et al. 2020, equations 2 and 3)."""

import pytest
import torch

from methods import Batch, RunInfo
from methods.byol import BYOL
from protocols.backbones.small import Conv4

B = 6


@pytest.fixture
def method():
    torch.manual_seed(0)
    options = BYOL.Options(hidden=16, output=8, momentum=0.5)
    method = BYOL(Conv4(), options, RunInfo(classes=3, images=B, side=16, steps=4, seed=0)).double()
    with torch.no_grad():
        for parameter in method.target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # else both networks would be one
    return method


def by_hand(method, views):
    """Each view's prediction against the other's target, summed over both directions, mean over images."""
    online = method.predictor(method.online(views))
    target = method.target.module(views).detach()
    total = 0.0
    for i in range(B):
        for prediction, other in ((online[i], target[B + i]), (online[B + i], target[i])):
            p, z = prediction / prediction.norm(), other / other.norm()
            total = total + ((p - z) ** 2).sum()
    return total / B


def test_loss_and_gradient_are_those_of_loops(method):
    views = torch.randn(2 * B, 3, 16, 16, dtype=torch.float64)
    loss = method(Batch(views=views, index=torch.arange(B)))["loss"]
    expected = by_hand(method, views)
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-6, atol=0)  # it is in float32
    trained = [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    wanted = torch.autograd.grad(expected, trained, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_the_target_follows_by_the_momentum_of_the_schedule(method):
    """The coefficient rises from the option to 1 along half a cosine (section 3.3)."""
    before = [p.clone() for p in method.target.parameters()]
    method.after_step(0.25)
    tau = 1 - (1 - 0.5) * (torch.cos(torch.tensor(torch.pi * 0.25)).item() + 1) / 2
    for old, new, online in zip(before, method.target.parameters(), method.online.parameters(), strict=True):
        torch.testing.assert_close(new, tau * old + (1 - tau) * online, rtol=1e-6, atol=1e-9)
