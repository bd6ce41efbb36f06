"""Means, intervals and differences, against hand calculation and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from results.analysis.frame import load_runs
from results.analysis.statistics import (
    compare_methods,
    differences,
    differences_to_best,
    estimate,
    mark_best,
    summarize,
)
from results.analysis.tables import result_tables


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


def marked(runs):
    frames = load_runs(runs)
    summary = summarize(frames.results)
    best = mark_best(summary, compare_methods(frames.unrefined))
    return dict(zip(zip(summary["method"], summary["refinement"], strict=True), best, strict=True))


def put(store, values):
    for method, seeds in values.items():
        for seed, value in enumerate(seeds):
            if value is not None:
                store({"linear": value}, method=method, seed=seed)


def test_the_best_are_those_that_no_other_is_better_than_and_baselines_do_not_compete(store, runs):
    put(
        store,
        {
            "simclr": [60.0, 61.0, 62.5],
            "byol": [59.5, 60.5, 61.0],
            "barlow": [40.0, 40.1, 40.2],
            "supervised": [90.0, 90.1, 90.2],
            "random": [60.0, 61.0, 62.0],
        },
    )
    store({"linear": 10.0, "linear>averaged": 99.0}, method="simclr", seed=7)
    found = marked(runs)
    assert {method for (method, _), best in found.items() if best} == {"simclr", "byol"}
    assert not found["simclr", "averaged"]


@pytest.mark.parametrize(("metric", "best"), [("ece", "byol"), ("top1_std", "byol"), ("top5", "simclr")])
def test_of_errors_and_spreads_the_lowest_is_the_best(store, runs, metric, best):
    for seed in range(3):
        for method, value in (("simclr", 9.0), ("byol", 3.0), ("random", 1.0)):
            store({f"linear/{metric}": value + 0.1 * seed}, method=method, seed=seed)
    frames = load_runs(runs)
    comparisons, summary = compare_methods(frames.unrefined), summarize(frames.results)
    assert summary["method"][mark_best(summary, comparisons)].to_list() == [best]
    found = differences_to_best(frames.unrefined, comparisons)
    assert found["reference"].to_list() == [best]
    (table,) = result_tables(frames, summary.assign(best=False), found, comparisons)
    assert table.rows[0].method == best


def test_a_gap_that_seeds_share_is_named_where_intervals_overlap(store, runs):
    # Both intervals are 24.8 wide; within every seed the methods differ by 2 points or a little more.
    put(store, {"simclr": [50.0, 60.0, 70.0], "byol": [48.0, 57.9, 68.1]})
    assert marked(runs) == {("simclr", ""): True, ("byol", ""): False}


def test_with_one_seed_nothing_is_marked(store, runs):
    put(store, {"simclr": [60.0], "byol": [20.0]})
    assert not any(marked(runs).values())


def test_a_method_with_one_seed_is_compared_with_none(store, runs):
    put(store, {"simclr": [60.0, 60.1, 60.3], "byol": [99.0, None, None], "barlow": [59.9, 60.3, 60.1]})
    assert marked(runs) == {("simclr", ""): True, ("byol", ""): False, ("barlow", ""): True}
    frames = load_runs(runs)
    found = differences_to_best(frames.unrefined, compare_methods(frames.unrefined)).set_index("method")
    assert set(found["reference"]) == {"simclr"}
    assert found.loc["byol", ["low", "high"]].isna().all()


def test_one_method_alone_is_not_marked(store, runs):
    put(store, {"simclr": [60.0, 60.1, 60.3], "random": [20.0, 20.1, 20.3]})
    assert not any(marked(runs).values())


def to_best(runs):
    results = load_runs(runs).unrefined
    return differences_to_best(results, compare_methods(results))


def test_differences_use_the_pairing(store, runs):
    # Seeds differ by 10 points, the methods by 2, 3 and 4 within each: the mean difference is -3, its std 1.
    put(store, {"simclr": [50.0, 60.0, 70.0, 99.0], "byol": [48.0, 57.0, 66.0]})
    found = to_best(runs)
    assert found[["method", "reference"]].to_numpy().tolist() == [["byol", "simclr"]]
    row = found.iloc[0]
    assert (row["mean"], row["std"], row["n"]) == pytest.approx((-3.0, 1.0, 3))
    assert (row["low"], row["high"]) == pytest.approx((-3.0 - 2.484138, -3.0 + 2.484138), abs=1e-6)


def test_differences_to_the_best_hold_together_and_those_to_a_method_of_choice_alone(store, runs):
    put(store, {"simclr": [60.0, 61.0, 62.0], "byol": [50.0, 50.0, 53.0], "barlow": [45.0, 47.0, 47.0]})
    results = load_runs(runs).results
    alone, together = differences(results, "simclr").set_index("method"), to_best(runs).set_index("method")
    assert alone.loc["byol", "high"] - alone.loc["byol", "mean"] == pytest.approx(
        stats.t.ppf(0.975, 2) * np.std([-10, -11, -9], ddof=1) / math.sqrt(3)
    )
    pairs = next(iter(compare_methods(results).values()))
    for method in ("byol", "barlow"):
        assert together.loc[method, "mean"] == alone.loc[method, "mean"]
        half = pairs.half[pairs.methods.index(method), pairs.methods.index("simclr")]
        assert together.loc[method, "high"] - together.loc[method, "mean"] == pytest.approx(half)
        assert half > alone.loc[method, "high"] - alone.loc[method, "mean"]


def test_differences_to_a_method_of_choice(store, runs):
    for seed in (0, 1):
        store({"linear": 60.0 + seed}, method="simclr", seed=seed)
        store({"linear": 50.0 + 3 * seed}, method="random", seed=seed)
    found = differences(load_runs(runs).results, reference="random")
    assert found["method"].to_list() == ["simclr"]
    assert found["mean"].to_list() == pytest.approx([9.0])


def test_no_difference_without_a_competitor(store, runs):
    store({"linear": 60.0}, method="random")
    assert to_best(runs).empty
