import pytest
import torch
from torch import nn

from methods.ema import EMA, cosine_schedule
from methods.momentum import MomentumCopy, cosine_between


def test_update_is_the_moving_average_of_the_parameters():
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = EMA(online)
    expected = [p.detach().clone() for p in online.parameters()]
    for step in range(3):
        with torch.no_grad():
            for p in online.parameters():
                p.add_(step + 1.0)
        average.update(online, 0.9)
        expected = [0.9 * e + 0.1 * p.detach() for e, p in zip(expected, online.parameters(), strict=True)]
    for p, e in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(p, e)
        assert not p.requires_grad
    assert not average(torch.randn(5, 3)).requires_grad


@pytest.mark.parametrize(("progress", "value"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_cosine_schedule_runs_from_start_to_end(progress, value):
    assert cosine_schedule(0.9, 1.0, progress) == pytest.approx(value)


def test_names_of_earlier_versions_go_on_working():
    online = nn.Linear(2, 2)
    old, new = MomentumCopy(online), EMA(online)
    with torch.no_grad():
        online.weight.zero_()
    old.follow(online, cosine_between(0.5, 1.0, 0.3))
    new.update(online, cosine_schedule(0.5, 1.0, 0.3))
    assert torch.equal(old.module.weight, new.module.weight)
