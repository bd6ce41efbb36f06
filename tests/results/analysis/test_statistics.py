"""Means, intervals and differences, against hand calculation and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from results.analysis.frame import load_runs
from results.analysis.statistics import differences, estimate, mark_best, summarize


def test_interval_is_that_of_student_by_hand():
    # t(0.975, 2) = 4.302653; std of 1, 2, 3 is 1, so half the width is 4.302653 / sqrt(3) = 2.484138.
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.n) == (2.0, 1.0, 3)
    assert found.low == pytest.approx(2.0 - 2.484138, abs=1e-6)
    assert found.high == pytest.approx(2.0 + 2.484138, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(60, 2, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = estimate(values)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_seed_has_no_interval():
    found = estimate([61.0])
    assert (found.mean, found.n) == (61.0, 1)
    assert all(map(math.isnan, (found.std, found.low, found.high)))


def test_nothing_cannot_be_averaged():
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def summary_of(store, runs, values):
    for method, seeds in values.items():
        for seed, value in seeds.items():
            store({"linear": value}, method=method, seed=seed)
    return summarize(load_runs(runs).results)


def test_summary_agrees_with_estimate(store, runs):
    summary = summary_of(store, runs, {"simclr": {0: 60.0, 1: 61.0, 2: 63.0}, "byol": {0: 50.0}})
    cells = summary.set_index("method")
    expected = estimate([60.0, 61.0, 63.0])
    assert cells.loc["simclr", ["mean", "std", "n", "low", "high"]].to_list() == pytest.approx(
        [expected.mean, expected.std, expected.n, expected.low, expected.high]
    )
    assert cells.loc["simclr", "seeds"] == "0 1 2"
    assert cells.loc["byol", "n"] == 1
    assert cells.loc["byol", ["std", "low", "high"]].isna().all()


def test_refined_results_are_cells_of_their_own(store, runs):
    for seed in range(3):
        store({"linear": 60.0 + seed, "linear>averaged": 65.0 + 2 * seed, "linear>transductive": 70.0}, seed=seed)
    summary = summarize(load_runs(runs).results)
    shown = summary[["refinement", "transductive", "mean", "n", "seeds"]].to_numpy().tolist()
    assert shown == [
        ["", False, 61.0, 3, "0 1 2"],
        ["averaged", False, 67.0, 3, "0 1 2"],
        ["transductive", True, 70.0, 3, "0 1 2"],
    ]
    assert summary["high"][1] == pytest.approx(67.0 + 2 * 2.484138, abs=1e-6)


def marked(summary):
    found = summary.join(mark_best(summary)).set_index("method")
    return {method: (row["best"], row["tied"]) for method, row in found.iterrows()}


def test_overlapping_intervals_are_tied_and_baselines_do_not_compete(store, runs):
    summary = summary_of(
        store,
        runs,
        {
            "simclr": {0: 60.0, 1: 61.0, 2: 62.0},
            "byol": {0: 59.0, 1: 60.0, 2: 61.0},
            "barlow": {0: 40.0, 1: 40.1, 2: 40.2},
            "supervised": {0: 90.0, 1: 90.1, 2: 90.2},
            "random": {0: 60.0, 1: 61.0, 2: 62.0},
        },
    )
    assert marked(summary) == {
        "simclr": (True, False),
        "byol": (False, True),
        "barlow": (False, False),
        "supervised": (False, False),
        "random": (False, False),
    }


def test_without_an_interval_nothing_is_told_apart(store, runs):
    summary = summary_of(store, runs, {"simclr": {0: 60.0, 1: 60.1, 2: 60.2}, "byol": {0: 20.0}})
    assert marked(summary)["byol"] == (False, True)


def test_differences_use_the_pairing(store, runs):
    # Seeds differ by 10 points, the methods by 2, 3 and 4 within each: the mean difference is -3, its std 1.
    for seed, (simclr, byol) in enumerate([(50.0, 48.0), (60.0, 57.0), (70.0, 66.0)]):
        store({"linear": simclr}, method="simclr", seed=seed)
        store({"linear": byol}, method="byol", seed=seed)
    store({"linear": 99.0}, method="simclr", seed=3)
    found = differences(load_runs(runs).results)
    assert found[["method", "reference"]].to_numpy().tolist() == [["byol", "simclr"]]
    row = found.iloc[0]
    assert (row["mean"], row["std"], row["n"]) == pytest.approx((-3.0, 1.0, 3))
    assert (row["low"], row["high"]) == pytest.approx((-3.0 - 2.484138, -3.0 + 2.484138), abs=1e-6)


def test_differences_to_a_method_of_choice(store, runs):
    for seed in (0, 1):
        store({"linear": 60.0 + seed}, method="simclr", seed=seed)
        store({"linear": 50.0 + 3 * seed}, method="random", seed=seed)
    found = differences(load_runs(runs).results, reference="random")
    assert found["method"].to_list() == ["simclr"]
    assert found["mean"].to_list() == pytest.approx([9.0])


def test_no_difference_without_a_competitor(store, runs):
    store({"linear": 60.0}, method="random")
    assert differences(load_runs(runs).results).empty
