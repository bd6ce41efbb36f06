import itertools
import math

import pytest
import torch

from methods import Batch, RunInfo
from methods.lejepa import LeJEPA, distance_to_centre, sigreg
from protocols.backbones.small import Conv4
from tests.tools.parity import assert_same_loss_and_gradient, embeddings

DIRECTIONS = torch.nn.functional.normalize(embeddings(4, 6, seed=3), dim=0)


def slow_sigreg(z: torch.Tensor) -> torch.Tensor:
    """One view, one direction, one frequency at a time, over positive and negative frequencies."""
    step, statistics = 3 / 16, []
    for view in z:
        for direction in DIRECTIONS.T:
            s, values = view @ direction, []
            for number in range(-16, 17):
                t = number * step
                real, imaginary = (s * t).cos().mean(), (s * t).sin().mean()
                window = math.exp(-t * t / 2)
                values.append(((real - window) ** 2 + imaginary**2) * window)
            integral = sum((a + b) / 2 * step for a, b in itertools.pairwise(values))
            statistics.append(len(view) * integral)
    return torch.stack(statistics).mean()


def slow_distance(z: torch.Tensor) -> torch.Tensor:
    centres = sum(z[:2]) / 2
    return torch.stack([(view[i] - centres[i]).square().mean() for view in z for i in range(z.shape[1])]).mean()


def test_both_terms_and_their_gradients_are_those_of_the_definition():
    z = embeddings(3, 7, 4)
    assert_same_loss_and_gradient(lambda z: sigreg(z, DIRECTIONS, points=17), slow_sigreg, z)
    assert_same_loss_and_gradient(lambda z: distance_to_centre(z, 2), slow_distance, z)


@pytest.mark.parametrize("crops", [1, 3])
def test_loss_and_gradient_of_the_whole_method_are_lightlys(crops):
    """With the same directions, which both draw first; small crops count in both terms."""
    lightly = pytest.importorskip("lightly.loss")
    if not hasattr(lightly, "LeJEPALoss"):
        pytest.skip("lightly has LeJEPA from 1.6 on")
    torch.manual_seed(0)
    options = LeJEPA.Options(crops=crops, directions=11, hidden=16, output=4)
    method = LeJEPA(Conv4(), options, RunInfo(classes=3, images=8, side=16, steps=1, seed=0)).train()
    batch = Batch(torch.rand(16, 3, 16, 16), torch.arange(8), None, (torch.rand(crops * 8, 3, 8, 8),))
    criterion = lightly.LeJEPALoss(lambda_param=0.05, sigreg_num_vectors=11)

    def ours(z):
        torch.manual_seed(5)
        method.projector.forward = lambda _: z
        return method(batch)["loss"]

    def theirs(z):
        torch.manual_seed(5)
        views = z.unflatten(0, (-1, 8))
        return criterion(local_proj=views[2:], global_proj=views[:2])

    assert_same_loss_and_gradient(ours, theirs, embeddings((2 + crops) * 8, 4), rtol=1e-4)


def test_sigreg_is_lowest_for_a_gaussian():
    """For samples of it the statistic stays near its expectation, whatever their number; it grows with n for others."""
    directions = torch.nn.functional.normalize(embeddings(4, 50, seed=3), dim=0)

    def statistic(z):
        return sigreg(z[None], directions, points=17).item()

    gaussian, wide, collapsed = embeddings(500, 4), 2 * embeddings(500, 4), torch.zeros(500, 4)
    assert statistic(gaussian) < 2
    assert statistic(gaussian) < statistic(wide) / 10
    assert statistic(wide) < statistic(collapsed)
    assert statistic(collapsed) == pytest.approx(500 / 50 * statistic(collapsed[:50]), rel=1e-4)
