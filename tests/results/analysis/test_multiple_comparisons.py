"""Which methods differ: against scipy, against hand calculation, and by simulation."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.analysis.multiple_comparisons import compare_all_pairs, residual_variance, studentized_range_quantile
from tests.tools import simulate_statistics as simulation

ROOT = Path(__file__).parents[3]
README = (ROOT / "results" / "analysis" / "README.md").read_text(encoding="utf-8")


def table(**methods):
    return pd.DataFrame(methods)


@pytest.mark.parametrize(("groups", "freedom"), [(2, 1), (2, 2.5), (3, 1.5), (5, 4), (11, 4), (11, 18), (30, 2)])
def test_quantiles_are_those_of_scipy(groups, freedom):
    expected = stats.studentized_range.ppf(0.95, groups, freedom)
    assert studentized_range_quantile(groups, freedom) == pytest.approx(expected, rel=1e-4)


def test_two_methods_have_the_paired_t_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(60, 1, 5), rng.normal(61, 3, 5)
    pairs = compare_all_pairs(table(a=a, b=b))
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (pairs.mean[0, 1] - pairs.half[0, 1], pairs.mean[0, 1] + pairs.half[0, 1]) == pytest.approx(interval)
    assert pairs.mean[1, 0] == -pairs.mean[0, 1]
    assert np.isnan(pairs.half[0, 0])


def test_the_larger_of_both_variances_decides_by_hand():
    # Around the means of methods and seeds nothing is left of a and b; the residual is c's.
    values = table(a=[1.0, 2.0, 3.0], b=[0.0, 1.0, 2.0], c=[5.0, 3.0, 4.0])
    pairs = compare_all_pairs(values)
    centred = values - values.mean()
    left = centred.sub(centred.mean(axis=1), axis=0)
    assert pairs.residual == pytest.approx((left**2).to_numpy().sum() / 4)
    quantile = stats.studentized_range.ppf(0.95, 3, 3)  # (3 - 1) · min(3, 4) / 2
    of_a_and_b = quantile * np.sqrt(2 * pairs.residual / 6)
    assert pairs.std[0, 1] == pytest.approx(0)
    assert pairs.half[0, 1] == pytest.approx(of_a_and_b, rel=1e-4)
    own = np.std([-4.0, -1.0, -1.0], ddof=1)
    assert own**2 > 2 * pairs.residual * 0.99
    assert pairs.half[0, 2] == pytest.approx(quantile * max(own, np.sqrt(2 * pairs.residual)) / np.sqrt(6), rel=1e-4)


def test_what_a_seed_adds_to_all_methods_changes_nothing():
    rng = np.random.default_rng(1)
    values = pd.DataFrame(rng.normal(size=(4, 6)))
    shifted = values.add([10.0, -20.0, 5.0, 0.0], axis=0)
    np.testing.assert_allclose(compare_all_pairs(values).half, compare_all_pairs(shifted).half)
    np.testing.assert_allclose(compare_all_pairs(values).mean, compare_all_pairs(shifted).mean, atol=1e-12)


def test_clear_differences_are_named_and_small_ones_are_not():
    noise = np.random.default_rng(2).normal(0, 0.5, (5, 4))
    pairs = compare_all_pairs(pd.DataFrame(noise + np.array([61.0, 60.9, 55.0, 30.0]), columns=list("abcd")))
    assert pairs.best == ["a", "b"]
    assert pairs.is_better.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [False, False, False, True],
        [False] * 4,
    ]


def test_one_seed_tells_nothing():
    pairs = compare_all_pairs(table(a=[60.0], b=[10.0]))
    assert pairs.best == []
    assert not pairs.is_better.any()
    assert np.isnan(pairs.half).all()
    assert np.isnan(pairs.typical_half)


def test_missing_seeds_are_left_out_pair_by_pair():
    nan = float("nan")
    values = table(a=[1.0, 2.5, 3.0, 9.0], b=[2.0, 3.0, nan, nan], c=[nan, 7.0, 8.0, 8.5], d=[nan, nan, nan, 50.0])
    pairs = compare_all_pairs(values)
    assert pairs.n.tolist() == [[4, 2, 3, 1], [2, 2, 1, 0], [3, 1, 3, 1], [1, 0, 1, 1]]
    assert pairs.mean[0, 1] == pytest.approx((-1.0 - 0.5) / 2)
    assert pairs.mean[0, 2] == pytest.approx((-4.5 - 5 + 0.5) / 3)
    assert np.isnan(pairs.half[1, 2])
    assert not np.isnan(pairs.half[0, 1])
    assert np.isnan(pairs.std[[1, 2, 3, 3], [2, 1, 0, 2]]).all(), "of one seed, or none"
    assert pairs.groups == 3  # d shares two seeds with no other
    # Least squares by indicator variables, with sums of squares by their projection.
    known = values[["a", "b", "c"]].stack().dropna().reset_index(name="y")
    design = pd.get_dummies(known, columns=["level_0", "level_1"], dtype=float).drop(columns="y").to_numpy()
    residual = known["y"] - design @ np.linalg.pinv(design) @ known["y"]
    assert pairs.free == len(known) - np.linalg.matrix_rank(design) == 3
    assert pairs.residual == pytest.approx((residual**2).sum() / pairs.free)


def test_a_method_that_is_there_twice_counts_once():
    rng = np.random.default_rng(3)
    values = pd.DataFrame(rng.normal(size=(3, 3)), columns=list("abc"))
    once, twice = compare_all_pairs(values), compare_all_pairs(values.assign(again=values["a"]))
    np.testing.assert_allclose(twice.half[:3, :3], once.half)
    assert twice.mean[0, 3] == 0
    assert twice.groups == 3


def test_more_seeds_narrow_what_is_expected():
    pairs = compare_all_pairs(pd.DataFrame(np.random.default_rng(4).normal(size=(3, 5))))
    assert pairs.with_seeds(3).typical_half == pytest.approx(pairs.typical_half)
    halves = [pairs.with_seeds(n).typical_half for n in range(3, 30)]
    assert halves == sorted(halves, reverse=True)
    assert pairs.with_seeds(400).typical_half / pairs.with_seeds(100).typical_half == pytest.approx(0.5, rel=0.01)


def test_the_simulation_applies_the_rule():
    values = np.random.default_rng(5).normal(size=(10, 4, 6)) * [1, 1, 1, 2, 3, 5]
    halves, _ = simulation.simultaneous_halves(values)
    for one, expected in zip(values, halves, strict=True):
        pairs = compare_all_pairs(pd.DataFrame(one))
        np.testing.assert_allclose(pairs.half[np.triu_indices(6, 1)], expected)


@pytest.mark.parametrize("noise", ["equal", "one × 3", "one × 5", "half × 4"])
@pytest.mark.parametrize(("methods", "seeds"), [(2, 2), (3, 3), (5, 2), (5, 3), (11, 10), (30, 3)])
def test_equal_methods_seldom_differ_and_intervals_hold(methods, seeds, noise):
    """At most 5 % of columns name a difference, 6 % with one method at five times the noise of the others."""
    rates = simulation.simulate(simulation.Setting(methods, seeds, noise), 2000)
    standard_error = np.sqrt(0.05 * 0.95 / 2000)
    assert rates.corrected <= (0.06 if noise == "one × 5" else 0.05) + 3 * standard_error
    assert 0.93 <= rates.of_mean <= 0.97
    assert 0.93 <= rates.of_pair <= 0.97


def test_eleven_equal_methods_before_and_after():
    rates = simulation.simulate(simulation.Setting(11, 3, "equal"), 2000)
    assert 0.5 < rates.uncorrected < 0.6
    assert rates.corrected < 0.05


def readme_rows():
    return re.findall(r"^\| (\d+) \| (\d+) \| (\S[^|]*) \|((?: [\d.]+(?: %)? \|){7})$", README, flags=re.MULTILINE)


def test_the_table_of_the_documentation_is_that_of_the_script():
    """All of its rows, and of some the numbers, as far as 1,000 tables can tell."""
    rows = {simulation.Setting(int(m), int(n), noise): cells for m, n, noise, cells in readme_rows()}
    assert list(rows) == simulation.SETTINGS
    for setting in simulation.SETTINGS[::3]:
        shown = [float(cell.removesuffix(" %")) for cell in rows[setting].strip(" |").split(" | ")]
        rates = simulation.simulate(setting, 1000, seed=1)
        for name, number in zip(rates._fields, shown, strict=True):
            if name == "half":
                assert rates.half == pytest.approx(number, rel=0.05, abs=0.06)
            else:
                share = number / 100
                error = 4 * np.sqrt(max(share * (1 - share), 0.002) / 1000)
                assert getattr(rates, name) == pytest.approx(share, abs=error), (setting, name)


def fitted_at_once(values):
    """Variance and degrees of freedom around all means of seeds and methods, fitted together."""
    seeds, methods = np.nonzero(~np.isnan(values))
    design = np.hstack([np.eye(values.shape[0])[seeds], np.eye(values.shape[1])[methods]])
    y = values[seeds, methods]
    fitted, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    free = len(y) - rank
    return (((y - design @ fitted) ** 2).sum() / free if free else np.nan), free


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.6])
def test_the_variance_is_that_of_means_of_seeds_and_methods(missing):
    rng = np.random.default_rng(0)
    for _ in range(40):
        values = rng.normal(60, 5, (rng.integers(2, 9), rng.integers(2, 7)))
        values[rng.random(values.shape) < missing] = np.nan
        if not np.isnan(values).all():
            variance, free = residual_variance(values)
            assert (variance, free) == (
                pytest.approx(fitted_at_once(values)[0], nan_ok=True),
                fitted_at_once(values)[1],
            )


def test_thousands_of_seeds_take_no_longer_than_their_number_asks():
    values = np.random.default_rng(0).normal(60, 5, (3000, 3))
    start = time.process_time()
    assert residual_variance(values)[1] == 2 * 2999
    assert time.process_time() - start < 1.0  # fitted at once, tens of seconds
