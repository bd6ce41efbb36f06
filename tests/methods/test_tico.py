import pytest
import torch

from methods import Batch, RunInfo
from methods.tico import TiCo, covariance_contrast, update_second_moments
from protocols.backbones.small import Conv4
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def slow_loss(z, target, before, beta, rho):
    """The paper's equations, one image at a time; C gets no gradient."""
    z, target = z / z.norm(dim=1, keepdim=True), target / target.norm(dim=1, keepdim=True)
    batch = sum(torch.outer(row, row) for row in z.detach()) / len(z)
    moments = beta * before + (1 - beta) * batch
    terms = [1 - a @ b.detach() + rho * (a @ moments @ a) for a, b in zip(z, target, strict=True)]
    return torch.stack(terms).mean()


def loss(z, target, before, beta, rho):
    moments = update_second_moments(before, z.detach(), beta=beta)
    return covariance_contrast(z, target, moments, rho=rho)


def test_loss_and_gradient_are_those_of_the_definition():
    before = embeddings(5, 5, seed=2) @ embeddings(5, 5, seed=2).T
    assert_same_loss_and_gradient(
        lambda z, target: loss(z, target, before, 0.7, 3.0),
        lambda z, target: slow_loss(z, target, before, 0.7, 3.0),
        embeddings(9, 5),
        embeddings(9, 5, seed=1),
    )


def test_losses_gradients_and_second_moments_of_some_steps_are_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    torch.manual_seed(0)
    options = TiCo.Options(hidden=16, output=6)
    method = TiCo(Conv4(), options, RunInfo(classes=3, images=8, side=16, steps=3, seed=0)).train()
    criterion = lightly.TiCoLoss(beta=0.9, rho=8.0)
    for step in range(3):
        batch = Batch(torch.rand(16, 3, 16, 16), torch.arange(8))
        z, target = method.online(batch.views[:8]).detach(), method.target(batch.views[8:])
        assert_same_loss_and_gradient(
            lambda z, target=target: loss(z, target, method.second_moments, 0.9, 8.0),
            lambda z, target=target: criterion(z, target, update_covariance_matrix=False),
            z,
        )
        torch.testing.assert_close(method(batch)["loss"], criterion(z, target))
        method.after_step((step + 1) / 3)
        torch.testing.assert_close(method.second_moments, criterion.C)
