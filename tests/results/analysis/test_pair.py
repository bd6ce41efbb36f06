"""Two methods chosen beforehand: differences by hand, and numbers of seeds against a simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from results.analysis.pair import POWER, compare_pair, deciding_seeds, power
from results.errors import RequestError, UnknownName
from results.report.data import collect


@pytest.fixture
def frames_of(store, runs):
    def put(**values):
        for method, numbers in values.items():
            for seed, value in enumerate(numbers):
                store({"linear": value}, method=method, seed=seed, seconds=97.0)
        return collect(runs).frames

    return put


def test_a_difference_by_hand(frames_of):
    (found,) = compare_pair(
        frames_of(simclr=[60.0, 61.0, 63.0], byol=[59.0, 61.5, 61.0], vicreg=[1.0]), "simclr", "byol"
    )
    values = [1.0, -0.5, 2.0]
    assert (found.first, found.other) == pytest.approx((184 / 3, 181.5 / 3))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(values))
    assert (found.n, found.winner) == (3, 0)
    # A run takes 97 s of pretraining and 3 s of the rest.
    assert found.missing == 2 * (found.seeds - 3)
    assert found.seconds == pytest.approx(100 * found.missing)


def test_both_means_are_over_the_seeds_that_both_have(frames_of):
    (found,) = compare_pair(frames_of(simclr=[60.0, 62.0, 90.0], byol=[59.0, 59.0]), "simclr", "byol")
    assert (found.first, found.other, found.mean, found.n) == (61.0, 59.0, 2.0, 2)


def test_the_better_one_is_named_whichever_comes_first(frames_of):
    frames = frames_of(simclr=[60.0, 61.0, 62.0], byol=[50.0, 51.1, 51.9])
    (found,), (reverse,) = compare_pair(frames, "simclr", "byol"), compare_pair(frames, "byol", "simclr")
    assert (found.winner, reverse.winner) == (1, -1)
    assert (found.seeds, found.missing) == (None, 0)


def test_of_errors_the_lower_one_is_better(store, runs):
    for seed in range(3):
        store({"linear/ece": 5.0 + seed / 10}, method="simclr", seed=seed)
        store({"linear/ece": 9.0 + seed / 9}, method="byol", seed=seed)
    (found,) = compare_pair(collect(runs).frames, "simclr", "byol")
    assert (found.mean < 0, found.winner) == (True, 1)


def test_one_seed_tells_nothing(frames_of):
    (found,) = compare_pair(frames_of(simclr=[60.0], byol=[50.0]), "simclr", "byol")
    assert (found.half, found.seeds, found.winner) == (None, None, 0)


def test_what_cannot_be_compared_is_refused(frames_of, store, runs):
    frames = frames_of(simclr=[60.0], byol=[50.0])
    with pytest.raises(UnknownName, match="simclr"):
        compare_pair(frames, "simcrl", "byol")
    with pytest.raises(RequestError, match="with itself"):
        compare_pair(frames, "byol", "byol")
    store({"linear": 60.0}, method="vicreg", dataset="digits")
    with pytest.raises(RequestError, match="share no seed"):
        compare_pair(collect(runs).frames, "simclr", "vicreg")


@pytest.mark.parametrize("effect", [0.4, 0.8, 1.5, 4.0])
def test_so_many_seeds_show_the_difference_in_four_of_five_repetitions(effect):
    n = deciding_seeds(effect * 3, 3.0)
    values = np.random.default_rng(0).normal(effect, 1.0, (20_000, n))
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=1, ddof=1) / n**0.5
    shown = (np.abs(values.mean(axis=1)) > half).mean()
    assert shown == pytest.approx(power(effect, np.array([n]))[0], abs=0.012)
    assert shown >= POWER - 0.012
    assert n == 2 or power(effect, np.array([n - 1]))[0] < POWER


def test_no_number_of_seeds_where_none_is_known():
    assert deciding_seeds(0.0, 1.0) is None
    assert deciding_seeds(1.0, math.nan) is None
    assert deciding_seeds(0.001, 1.0) is None
    assert deciding_seeds(1.0, 0.0) == 2
