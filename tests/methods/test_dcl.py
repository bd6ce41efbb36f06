import math

import pytest
import torch

from methods.dcl import decoupled_contrastive
from methods.losses import nt_xent
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def slow_loss(z: torch.Tensor, temperature: float, sigma: float) -> torch.Tensor:
    """Equation 6 of the paper, one sum at a time."""
    half = len(z) // 2
    z = z / z.norm(dim=1, keepdim=True)
    alike = [float((z[i] @ z[i + half]).detach()) for i in range(half)]
    mean = sum(math.exp(cosine / sigma) for cosine in alike) / half if sigma else 1.0
    losses = []
    for i in range(2 * half):
        others = [j for j in range(2 * half) if j % half != i % half]
        denominator = sum((z[i] @ z[j] / temperature).exp() for j in others)
        weight = 2 - math.exp(alike[i % half] / sigma) / mean if sigma else 1.0
        losses.append(denominator.log() - weight * (z[i] @ z[(i + half) % (2 * half)]) / temperature)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_loss_and_gradient_are_those_of_the_definition(sigma):
    assert_same_loss_and_gradient(
        lambda z: decoupled_contrastive(z, temperature=0.2, sigma=sigma),
        lambda z: slow_loss(z, 0.2, sigma),
        embeddings(12, 5),
    )


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_loss_and_gradient_are_lightlys(sigma):
    lightly = pytest.importorskip("lightly.loss")
    criterion = lightly.DCLWLoss(temperature=0.1, sigma=sigma) if sigma else lightly.DCLLoss(temperature=0.1)
    assert_same_loss_and_gradient(
        lambda z: decoupled_contrastive(z, temperature=0.1, sigma=sigma),
        lambda z: criterion(*z.chunk(2)),
        embeddings(16, 6),
    )


def test_it_is_simclr_without_the_positive_in_the_denominator():
    """log p of SimCLR is s - log(e^s + D), here it is s - log D: with few alike negatives the two differ most."""
    z = torch.eye(4).repeat(2, 1)
    difference = nt_xent(z, temperature=0.5) - decoupled_contrastive(z, temperature=0.5, sigma=0.0)
    assert difference.item() == pytest.approx(math.log((math.exp(2) + 6) / 6), abs=1e-5)
