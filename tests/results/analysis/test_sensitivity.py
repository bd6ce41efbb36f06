"""What the seeds of a table can tell."""

import pytest

from results.analysis.frame import load_runs
from results.analysis.sensitivity import find_sensitivity
from results.analysis.statistics import estimate


def test_of_one_method_they_are_the_intervals_of_its_means_in_the_order_of_the_columns(store, runs):
    values = {"linear": (60.0, 61.0, 63.0), "knn": (50.0, 50.5, 50.6)}
    for seed in range(3):
        store({name: some[seed] for name, some in values.items()}, seed=seed)
    frames = load_runs(runs)
    found = find_sensitivity(frames.unrefined, (), frames.runs)
    halves = [estimate(values[name]) for name in frames.unrefined["evaluation"].unique()]
    assert found.methods == 1
    assert found.now == pytest.approx([(some.high - some.low) / 2 for some in halves])
