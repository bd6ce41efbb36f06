"""The settings of trials."""

import math
import sys

import numpy as np
import pytest

from protocols.tune.sampler import sobol_points, sobol_settings, tpe_settings
from protocols.tune.space import Dimension
from results.errors import RequestError

SPACE = [
    Dimension("pretrain.lr", "log", (1e-4, 1e-1)),
    Dimension("pretrain.warmup", "linear", (0.0, 0.2)),
    Dimension("temperature", "log", (0.05, 1.0)),
    Dimension("momentum", "choice", (0.9, 0.99, 0.999)),
]


def test_points_are_those_of_the_sobol_sequence():
    """The first eight in two dimensions, as in Joe & Kuo's tables."""
    expected = [
        *[(0, 0), (0.5, 0.5), (0.75, 0.25), (0.25, 0.75)],
        *[(0.375, 0.375), (0.875, 0.875), (0.625, 0.125), (0.125, 0.625)],
    ]
    assert sobol_points(2, 8).tolist() == [list(point) for point in expected]


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17])
def test_fewer_trials_are_the_first_of_more(count):
    assert sobol_settings("simclr", SPACE, count) == sobol_settings("simclr", SPACE, 32)[:count]


def test_the_first_trial_is_the_default_and_the_others_set_everything():
    default, *drawn = sobol_settings("simclr", SPACE, 20)
    assert default == {}
    assert all(list(setting) == [dimension.target for dimension in SPACE] for setting in drawn)
    assert len({tuple(setting.values()) for setting in drawn}) == 19


def test_every_half_of_every_range_gets_its_share():
    drawn = sobol_settings("simclr", SPACE, 65)[1:]
    values = np.log([[setting["pretrain.lr"], setting["temperature"]] for setting in drawn])
    middle = np.log([[1e-4 * 1e-1, 0.05 * 1.0]]) / 2
    assert (np.abs((values > middle).mean(0) - 0.5) <= 1 / 32).all()


def test_methods_have_different_settings_and_the_same_ones_on_every_machine():
    assert sobol_settings("simclr", SPACE, 3)[1] != sobol_settings("byol", SPACE, 3)[1]
    assert sobol_settings("simclr", SPACE, 2)[1] == {
        "pretrain.lr": 0.0107,
        "pretrain.warmup": 0.196,
        "temperature": 0.325,
        "momentum": 0.99,
    }


def peak(setting):
    """Highest at a learning rate of 1e-2 and a momentum of 0.99."""
    return -abs(math.log10(setting["pretrain.lr"]) + 2) - abs(setting["momentum"] - 0.99)


def test_tpe_draws_near_what_was_good():
    pytest.importorskip("optuna")
    gains = []
    for method in ("simclr", "byol", "dino"):
        default, *drawn = tpe_settings(method, SPACE, 31, peak)
        assert default == {}
        assert [list(setting) for setting in drawn] == [[dimension.target for dimension in SPACE]] * 30
        assert all(1e-4 <= setting["pretrain.lr"] <= 1e-1 for setting in drawn)
        values = [peak(setting) for setting in drawn]
        gains.append(np.mean(values[15:]) - np.mean(values[:10]))
    assert np.mean(gains) > 0.15


def test_tpe_goes_on_where_results_end():
    """Told the same results, it draws the same trials, and one more than there are results."""
    pytest.importorskip("optuna")
    whole = tpe_settings("simclr", SPACE, 16, peak)
    assert tpe_settings("simclr", SPACE, 32, peak)[:16] == whole
    for known in (0, 5, 12):
        told = [*whole[1 : known + 1]]
        found = tpe_settings("simclr", SPACE, 16, lambda setting, told=told: peak(setting) if setting in told else None)
        assert found == whole[: known + 2]


def test_tpe_is_told_of_failures():
    pytest.importorskip("optuna")
    failing = tpe_settings("simclr", SPACE, 31, lambda setting: math.nan if setting["pretrain.lr"] > 1e-2 else 1.0)
    assert len(failing) == 31
    assert failing != tpe_settings("simclr", SPACE, 31, lambda setting: 1.0)


def test_without_optuna_tpe_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RequestError, match=r"needs Optuna; uv pip install 'ssl-bench\[tpe\]'"):
        tpe_settings("simclr", SPACE, 2, peak)
