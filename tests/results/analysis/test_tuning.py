"""What trials say, against slow references and simulations."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.analysis.frame import load_runs
from results.analysis.tuning import (
    best_within,
    compare_tuned,
    expected_best,
    expected_best_band,
    importance,
    kendall_tau,
    rank_changes,
    regret,
    trial_table,
    tuning_curves,
    with_joint_intervals,
)
from results.report.sections.tuning import problem_lines
from results.tuning import MethodSearch, Search, Trial, TunedColumn, store_column, store_search


def test_expected_best_is_the_mean_over_all_subsets():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    subsets = [np.mean([max(some) for some in itertools.combinations(values, n)]) for n in range(1, 8)]
    np.testing.assert_allclose(expected_best(values), subsets, rtol=1e-12)
    np.testing.assert_allclose(expected_best([values, values[::-1]]), [subsets, subsets], rtol=1e-12)


def test_expected_best_is_unbiased_for_the_best_of_n():
    """Over many searches of 12 trials, the best of 4 is that of four independent trials."""
    rng = np.random.default_rng(0)
    many = expected_best(rng.normal(size=(4000, 12)))[:, 3]
    truth = rng.normal(size=(200_000, 4)).max(1).mean()
    assert many.mean() == pytest.approx(truth, abs=0.02)


def test_expected_best_of_many_trials_does_not_overflow():
    assert expected_best(np.arange(2000.0))[[0, -1]] == pytest.approx([999.5, 1999.0])


def test_the_band_holds_the_truth_while_n_is_small():
    """Coverage of the best of 1, 4 and 8 of 24 uniform trials: percentiles of a bootstrap are narrow near the end."""
    rng, hits = np.random.default_rng(1), []
    for _ in range(100):
        low, high = expected_best_band(rng.uniform(size=24), seed=int(rng.integers(1 << 30)))
        truth = np.arange(1, 25) / np.arange(2, 26)  # of the highest of n uniform numbers
        hits.append((low <= truth) & (truth <= high))
    coverage = np.mean(hits, axis=0)
    assert coverage[0] > 0.88
    assert coverage[3] > 0.85
    assert coverage[7] > 0.8


def test_the_numbers_of_trials_at_which_the_order_changes():
    curves = pd.DataFrame(
        [("a", 1, 5.0), ("a", 2, 6.0), ("a", 3, 7.0), ("b", 1, 4.0), ("b", 2, 6.5), ("b", 3, 8.0), ("b", 4, 9.0)],
        columns=["method", "n", "mean"],
    )
    assert rank_changes(curves) == [(1, ("a", "b")), (2, ("b", "a"))]
    assert rank_changes(curves[:0]) == []


def test_equal_compute_is_as_many_trials_as_it_pays_for():
    a = [("a", n, 50.0 + n, 1e9 * n) for n in range(1, 13)]
    b = [("b", n, 52.0 + n, 3e9 * n) for n in range(1, 6)]
    found = best_within(pd.DataFrame([*a, *b], columns=["method", "n", "mean", "flops"]))
    assert list(zip(found["compute"], found["method"], found["n"], strict=True)) == [
        *[(3e9, "a", 3), (3e9, "b", 1)],
        *[(6e9, "a", 6), (6e9, "b", 2)],
        *[(12e9, "a", 12), (12e9, "b", 4)],
    ]
    assert best_within(found[:0]).empty


def searched(values_of, count=200):
    """A search of one method in two dimensions and a choice, and the values of its trials."""
    rng = np.random.default_rng(0)
    space = {"lr": {"log": [1e-4, 1e-1]}, "warmup": {"linear": [0.0, 1.0]}, "crop": {"choice": [[1], [2], [3]]}}
    settings = [
        {"lr": float(10 ** rng.uniform(-4, -1)), "warmup": float(rng.uniform()), "crop": [int(rng.integers(1, 4))]}
        for _ in range(count)
    ]
    one = MethodSearch(space, (Trial({}, {}), *(Trial(setting, {}) for setting in settings)))
    return one, [math.nan, *(values_of(setting, rng) for setting in settings)]


def test_importance_is_the_share_of_variance():
    one, values = searched(lambda setting, rng: (math.log10(setting["lr"]) + 2.5) ** 2 + rng.normal(0, 0.01))
    found = importance(one, values)
    assert found["lr"] > 0.99
    assert found["warmup"] < 0.1
    assert found["crop"] < 0.1
    one, values = searched(lambda setting, rng: float(setting["crop"] == [2]) + setting["warmup"])
    found = importance(one, values)
    shares = np.array([(1 / 3) * (2 / 3), 1 / 12])  # variances of the two, which are independent
    assert [found["crop"], found["warmup"]] == pytest.approx(shares / shares.sum(), abs=0.12)


def test_importance_of_too_few_or_equal_trials_is_unknown():
    one, values = searched(lambda setting, rng: 1.0, count=5)
    assert all(math.isnan(value) for value in importance(one, values).values())
    one, values = searched(lambda setting, rng: rng.normal(), count=1)
    assert all(math.isnan(value) for value in importance(one, values).values())


def test_regret_is_what_choosing_without_labels_costs():
    trials = pd.DataFrame(
        {"value": [50.0, 60.0, 70.0, math.nan], "loss": [3.0, 1.0, 2.0, 0.1], "rankme": [1, 2, 9, 99]}
    )
    assert regret(trials, "loss", lowest=True) == 10.0
    assert regret(trials, "rankme", lowest=False) == 0.0
    assert math.isnan(regret(trials[3:], "loss", lowest=True))


@pytest.mark.parametrize("second", [[1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 2, 2], [1, 1, 2, 4]])
def test_kendalls_tau_is_scipys(second):
    assert kendall_tau(np.array([1.0, 2, 3, 4]), np.array(second, float)) == pytest.approx(
        stats.kendalltau([1, 2, 3, 4], second).statistic
    )


def test_kendalls_tau_of_too_little_is_unknown():
    assert math.isnan(kendall_tau(np.array([1.0]), np.array([1.0])))
    assert math.isnan(kendall_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])))


@pytest.fixture
def tuned(runs, store):
    """Two methods of four trials: one failed, one of each never ran; tuned and default runs over three seeds."""
    trials = {}
    for method, values in {"simclr": [50.0, 60.0, 40.0], "byol": [55.0, 52.0, None]}.items():
        folders = []
        for index, value in enumerate(values):
            words = {
                "method": method,
                "dataset": "held_out:shapes",
                "lr": 1e-3 + index * 1e-4,
                "evaluations": ("linear",),
            }
            folders.append(
                store({"linear": value} if value else None, failure=None if value else {"reason": "no"}, **words)
            )
        trials[method] = MethodSearch(
            {"pretrain.lr": {"log": [1e-4, 1e-2]}},
            (
                *(Trial({"pretrain.lr": 1e-3} if i else {}, {"0": f.name}) for i, f in enumerate(folders)),
                Trial({"pretrain.lr": 2e-3}, {"0": f"never-ran-{method}"}),
            ),
        )
    store_search(runs, "search-1", Search("shapes", "conv4", "quick", "linear", (0,), "sobol", trials))
    column = {}
    for seed in (10, 11, 12):
        for method, default, gain in (("simclr", 50.0 + seed, 5.0 + seed / 10), ("byol", 65.0 - seed, 0.0)):
            words = {"method": method, "seed": seed, "evaluations": ("linear",)}
            path = store({"linear": default}, **words)
            if gain:
                path = store({"linear": default + gain}, lr=5e-3, label="quick[lr=0.005]", **words)
            column[path.name] = method
    store_column(runs, "tuned-mine", TunedColumn("quick, best of 3 trials", "mine", "quick", 3, column))
    return runs


def test_trials_stand_in_no_table(tuned):
    frames = load_runs(tuned)
    assert set(frames.results["dataset"]) == {"shapes"}
    assert len(frames.trials) == 6
    assert not frames.runs["run"].isin(frames.trials["run"]).any()


def test_trials_that_are_asked_for_are_ordinary_runs(tuned):
    names = list(load_runs(tuned).trials["run"])
    assert set(load_runs(tuned, only=names).runs["run"]) == set(names)


def test_a_default_that_won_stands_in_both_tables(tuned):
    results = load_runs(tuned).results
    counts = results.groupby(["protocol", "method"]).size()
    assert counts["quick, best of 3 trials", "byol"] == counts["quick", "byol"] == 3
    assert counts["quick, best of 3 trials", "simclr"] == 3


def test_gains_are_paired_over_seeds(tuned):
    (comparison,) = compare_tuned(load_runs(tuned))
    gains = comparison.gains.set_index("method")
    assert gains.loc["simclr", "mean"] == pytest.approx(6.1)
    assert gains.loc["simclr", "high"] - gains.loc["simclr", "mean"] == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-3)
    assert (gains.loc["byol", ["mean", "low", "high"]] == 0).all()
    assert list(gains["n"]) == [3, 3]
    assert list(comparison.rank_correlation.values()) == [1.0]


def test_the_intervals_of_all_gains_hold_together():
    """Without any gain one excludes 0 in at most 5 % of tables; a method that kept its setting does not count."""
    rng = np.random.default_rng(0)
    methods, seeds, tables = 7, 5, 400
    place = {"evaluated_on": "shapes", "backbone": "conv4", "evaluation": "linear", "metric": "top1"}
    rows = []
    for table in range(tables):
        differences = rng.normal(scale=rng.uniform(1, 3, (methods, 1)), size=(methods, seeds))
        for number, some in enumerate([*differences, np.zeros(seeds)]):
            found = {"mean": some.mean(), "std": some.std(ddof=1), "n": seeds}
            rows.append({"dataset": f"{table}", **place, "method": f"{number}", "default": 0.0, "tuned": 0.0, **found})
    gains = with_joint_intervals(pd.DataFrame(rows))
    first = gains.iloc[0]
    expected = stats.t.ppf(1 - 0.05 / 2 / methods, seeds - 1) * rows[0]["std"] / seeds**0.5
    assert first["high"] - first["mean"] == first["mean"] - first["low"] == pytest.approx(expected)
    wrong = gains["low"].gt(0) | gains["high"].lt(0)
    assert 0.02 < wrong.groupby(gains["dataset"]).any().mean() < 0.075


def test_the_table_of_trials(tuned):
    frames = load_runs(tuned)
    search = frames.tuning.searches["search-1"]
    trials = trial_table(search, frames)
    values = trials.groupby("method")["value"].apply(list)
    assert values["simclr"] == pytest.approx([50.0, 60.0, 40.0, math.nan], nan_ok=True)
    assert values["byol"] == pytest.approx([55.0, 52.0, math.nan, math.nan], nan_ok=True)
    assert trials.set_index(["method", "trial"])["done"].sum() == 5
    assert list(trials["failed"]) == [0, 0, 1, 0, 0, 0, 0, 0]
    assert list(problem_lines(search, trials)) == [
        "byol: 1 of 4 trials failed: 2",
        "byol: 1 of 4 trials not yet run to their end: 3",
        "simclr: 1 of 4 trials not yet run to their end: 3",
    ]
    curves = tuning_curves("search-1", search, trials)
    best = curves.groupby("method")["mean"].apply(list)
    assert best["simclr"] == pytest.approx([50.0, 60.0])
    assert best["byol"] == pytest.approx([52.0, 52.0])  # the trial that failed counts as the lowest finished one
    assert set(curves["default"]) == {50.0, 55.0}
    assert curves["low"].isna().all()  # a third of two trials is none


def test_the_best_of_n_trials_of_tpe_is_that_of_its_first(tuned):
    frames = load_runs(tuned)
    search = replace(frames.tuning.searches["search-1"], sampler="tpe")
    curves = tuning_curves("search-1", search, trial_table(search, frames))
    assert curves.groupby("method")["mean"].apply(list)["simclr"] == [60.0, 60.0]


def test_a_search_with_halving_has_no_curve_and_stopped_trials_did_not_fail(tuned):
    frames = load_runs(tuned)
    search = frames.tuning.searches["search-1"]
    first, second, third, _ = search.methods["simclr"].trials
    stopped = Trial(second.setting, {}, (second.runs,))
    search = replace(search, halving=3, methods={"simclr": MethodSearch({}, (first, stopped, third))})
    trials = trial_table(search, frames)
    assert trials["value"].to_list() == pytest.approx([50.0, math.nan, 40.0], nan_ok=True)
    assert tuning_curves("search-1", search, trials).empty
    assert list(problem_lines(search, trials)) == []
