"""Runs in jobs, jobs in arrays."""

import pytest

from slurm.pack import pack_runs
from slurm.profile import Profiles


def packed(runs, table, largest=1000, estimate=None):
    made = pack_runs(runs, Profiles({"time": "1h", **table}, {}), largest, estimate)
    return made, [[len(task) for task in batch.tasks] for batch in made]


@pytest.fixture(scope="module")
def ten(run_of):
    return [run_of("random", seed) for seed in range(10)]


def test_every_run_goes_out_once_and_in_order(ten):
    made, _ = packed(ten, {"runs_per_job": 3}, largest=2)
    assert [run for batch in made for task in batch.tasks for run in task] == ten


def test_arrays_are_no_larger_than_the_cluster_allows(ten):
    assert packed(ten, {}, largest=4)[1] == [[1] * 4, [1] * 4, [1] * 2]
    assert packed(ten, {"runs_per_job": 3}, largest=4)[1] == [[3, 3, 3, 1]]
    assert packed(ten[:3], {"array": False})[1] == [[1], [1], [1]]


def test_jobs_take_about_as_long_as_asked(ten):
    seconds = [100, 100, 100, 5000, 10, 10, 10, 10, 10, 200]
    assert packed(ten, {"minutes_per_job": "5m"}, estimate=lambda runs: seconds)[1] == [[3, 1, 6]]


@pytest.mark.parametrize(("most", "parallel", "after"), [
    (0, [0] * 5, [None] * 5),
    (12, [2] * 5, [None] * 5),
    (5, [1] * 5, [None] * 5),
    (2, [1] * 5, [None, None, 0, 1, 2]),
    (1, [1] * 5, [None, 0, 1, 2, 3]),
])  # fmt: skip
def test_a_limit_of_jobs_holds_for_all_arrays_together(ten, most, parallel, after):
    made, _ = packed(ten, {"max_parallel": most}, largest=2)
    assert [batch.parallel for batch in made] == parallel
    assert [batch.after for batch in made] == after


def test_runs_that_ask_for_something_else_go_out_apart(run_of):
    runs = [run_of(method, seed) for seed in range(2) for method in ("simclr", "random")]
    made, sizes = packed(runs, {"methods": {"simclr": {"mem": "8G"}}})
    assert sizes == [[1, 1], [1, 1]]
    assert [batch.profile.mem for batch in made] == ["8G", ""]
    assert {run.method.name for task in made[0].tasks for run in task} == {"simclr"}
