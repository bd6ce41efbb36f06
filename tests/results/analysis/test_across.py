"""Average ranks and interquartile means against published tables and independent implementations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.analysis.across import LARGE, AcrossDatasets, compare_across, friedman, interquartile_means, trimmed_mean
from results.analysis.multiple_comparisons import studentized_range_quantile


def test_quantiles_are_those_of_the_published_table():
    """Table 5 of Demšar (2006), of the Nemenyi test at 0.05; made of quantiles that were rounded before."""
    published = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for methods, quantile in published.items():
        assert studentized_range_quantile(methods, LARGE) / 2**0.5 == pytest.approx(quantile, abs=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_is_that_of_scipy_as_an_f_statistic(ties):
    random = np.random.default_rng(1)
    values = random.integers(0, 4, (8, 5)) if ties else random.normal(size=(8, 5))
    ranks = stats.rankdata(values, axis=1)
    chi2 = stats.friedmanchisquare(*values.T).statistic
    statistic = 7 * chi2 / (8 * 4 - chi2)
    assert friedman(ranks) == pytest.approx(stats.f.sf(statistic, 4, 28))
    assert friedman(np.tile([1.0, 2.0, 3.0], (6, 1))) == 0
    assert friedman(np.full((6, 3), 2.0)) == 1


def test_interquartile_mean_is_the_trimmed_mean_of_scipy():
    scores = np.random.default_rng(2).normal(size=(3, 50))
    assert trimmed_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=1))


def test_the_interval_is_that_of_a_bootstrap_written_out():
    random = np.random.default_rng(3)
    values = [random.normal(50 + 10 * d, 2, (5, 2)) for d in range(6)]
    means, low, high = interquartile_means(values)
    draws = []
    for _ in range(4000):
        chosen = [block[random.integers(5, size=5), 1] for block in values]
        draws.append(stats.trim_mean(np.concatenate(chosen), 0.25))
    assert means[1] == pytest.approx(stats.trim_mean(np.concatenate([block[:, 1] for block in values]), 0.25))
    assert [low[1], high[1]] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.1)
    assert np.isnan(interquartile_means([block[:1] for block in values])[1]).all()
    assert np.isnan(interquartile_means([*values, values[0][:0]])[0]).all()


def results(values, seeds=2):
    rows = [
        {
            "dataset": dataset,
            "evaluated_on": dataset,
            "method": method,
            "pretraining": method,
            "baseline": "",
            "seed": seed,
        }
        | {"evaluation": "linear", "metric": "top1", "value": value + seed / 10}
        for (dataset, method), value in values.items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def test_ranks_by_hand_and_what_is_left_out():
    order = {"d1": "abc", "d2": "abc", "d3": "bac", "d4": "abc", "d5": "acb"}
    values = {(data, method): 9.0 - level for data, methods in order.items() for level, method in enumerate(methods)}
    (found,) = compare_across(results(values | {("d1", "late"): 1.0}))
    assert found.methods == ("a", "b", "c")
    assert found.ranks == pytest.approx([6 / 5, 10 / 5, 14 / 5])
    assert found.left_out == ("late",)
    assert found.critical_difference == pytest.approx(2.343 * (3 * 4 / 30) ** 0.5, abs=1e-3)
    assert found.cliques == [(0, 1), (1, 2)]
    assert compare_across(results({key: value for key, value in values.items() if key[0] != "d5"})) == []


def test_baselines_and_repeated_pretrainings_are_not_ranked():
    values = {(f"d{d}", method): 9.0 - level for d in range(5) for level, method in enumerate("abcd")}
    rows = results(values)
    rows.loc[rows["method"] == "c", "baseline"] = "lower"
    rows.loc[rows["method"] == "d", "pretraining"] = "a"
    (found,) = compare_across(rows)
    assert found.methods == ("a", "b")


@pytest.mark.parametrize(
    ("ranks", "cliques"), [([1, 2, 3], []), ([1, 1.5, 3], [(0, 1)]), ([1, 1.9, 2.8, 2.9], [(0, 1), (1, 2), (2, 3)])]
)
def test_cliques_are_the_longest(ranks, cliques):
    nothing = np.zeros(len(ranks))
    found = AcrossDatasets(
        "", "top1", tuple("abcd")[: len(ranks)], (), np.array(ranks, float), 0.95, 1.0, *[nothing] * 3, ()
    )
    assert found.cliques == cliques
