"""What the seeds of a table can tell."""

import pytest

from results.analysis.frame import load_runs
from results.analysis.sensitivity import find_sensitivity
from results.analysis.statistics import compare_methods, estimate


def test_of_one_method_they_are_the_intervals_of_its_means_in_the_order_of_the_columns(store, runs):
    values = {"linear": (60.0, 61.0, 63.0), "knn": (50.0, 50.5, 50.6)}
    for seed in range(3):
        store({name: some[seed] for name, some in values.items()}, seed=seed)
    frames = load_runs(runs)
    found = find_sensitivity(frames.unrefined, (), frames.runs)
    halves = [estimate(values[name]) for name in frames.unrefined["evaluation"].unique()]
    assert found.methods == 1
    assert found.now == pytest.approx([(some.high - some.low) / 2 for some in halves])


@pytest.mark.parametrize("baseline_seeds", [2, 40])
def test_missing_runs_are_those_of_methods_with_too_few_seeds(store, runs, baseline_seeds):
    """More seeds of a baseline than are needed take no time off the others'."""
    values = {"simclr": (60.0, 61.0, 63.0), "byol": (59.0, 61.5, 60.0)}
    for method, some in values.items():
        for seed, value in enumerate(some):
            store({"knn": value}, method=method, seed=seed, seconds=357.0)
    for seed in range(baseline_seeds):
        store({"knn": 30.0}, method="random", seed=seed)
    frames = load_runs(runs)
    found = find_sensitivity(frames.unrefined, [*compare_methods(frames.unrefined).values()], frames.runs)
    seconds = frames.runs.groupby("method")["seconds"].mean()
    assert 3 < found.seeds < 40
    missing = {"simclr": found.seeds - 3, "byol": found.seeds - 3, "random": max(0, found.seeds - baseline_seeds)}
    assert found.seconds == pytest.approx(sum(seconds[method] * n for method, n in missing.items()))
