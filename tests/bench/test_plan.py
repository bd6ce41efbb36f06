"""What is left to do of a grid."""

import pytest

from bench.plan import Request, expand, plan
from protocols.place import Place
from protocols.runner import execute
from protocols.watch import Watch

ASKED = {"methods": ["random"], "datasets": ["digits"], "seeds": [0]}


def asked(folder, **words):
    return plan(expand(Request(**{**ASKED, **words}), folder), folder / "runs")


def names(runs):
    return [[run.name_of(evaluation) for evaluation in run.evaluations] for run in runs]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with one run, of which ``knn`` was measured."""
    folder = tmp_path_factory.mktemp("plan")
    (run,) = asked(folder, evaluations=["knn"]).todo
    execute(run, Place(folder / "runs", folder, "cpu"), Watch())
    return folder


def test_what_is_measured_is_done(measured):
    planned = asked(measured, evaluations=["knn"])
    assert (names(planned.todo), names(planned.done)) == ([], [["knn"]])


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ({}, ["linear"]),
        ({"evaluate_on": ["digits", "shapes"]}, ["linear", "linear on shapes", "knn on shapes"]),
        ({"evaluations": ["knn"], "evaluate_on": ["shapes"]}, ["knn on shapes"]),
        ({"evaluations": ["knn"], "settings": ["knn.k=5"]}, ["knn[k=5]"]),
    ],
)
def test_only_what_is_lacking_is_left(measured, words, left):
    assert names(asked(measured, **words).todo) == [left]


def test_by_force_everything_is_left(measured):
    runs = expand(Request(**ASKED, evaluations=["knn"]), measured)
    assert names(plan(runs, measured / "runs", force=True).todo) == [["knn"]]
