"""What a record may say."""

import math

import pytest

from protocols.spec.grid import expand
from results.errors import RequestError
from results.record import LARGEST_INTEGER, Picture, Record
from tests.tools.many_records import record_of, request


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../other/a.png", "evaluations/../../a.png", "evaluations/page.svg", "", "a.png/.."]
)
def test_a_picture_lies_within_the_folder_of_its_run(file):
    with pytest.raises(ValueError, match="no PNG file within the run's folder"):
        Picture("graph", "cifar10", file)


def test_a_picture_in_a_subfolder():
    assert Picture("graph", "cifar10", "evaluations/a.png").file == "evaluations/a.png"


METRIC = {"evaluation": "knn", "label": "knn", "dataset": "digits", "split": "test", "metric": "top1", "value": 50.0}


@pytest.mark.parametrize(
    ("keys", "value", "where"),
    [
        (("metrics", 0, "value"), 10**400, r"record\.metrics"),
        (("metrics", 0, "value"), 250.0, "top1 of knn is 250"),
        (("metrics", 0, "value"), math.nan, "top1 of knn is nan"),
        (("metrics", 0, "n"), 10**400, "n of knn is 1000"),
        (("metrics", 0, "n"), True, r"record\.metrics\[0\]\.n: expected `int`, got `bool`"),
        (("metrics", 0, "unknown"), 5, r"record\.metrics\[0\]: object contains unknown field `unknown`"),
        (("cost", "views"), 10**400, "views is 1000"),
        (("cost", "views"), LARGEST_INTEGER + 1, "views is 9223372036854775808"),
        (("cost", "seconds", "knn"), -1.0, "seconds of knn are -1"),
        (("history", 0, "loss"), math.nan, "an epoch has .*nan"),
        (("history", 0, "loss"), 10**400, r"record\.history"),
        (("history", 0, "loss"), True, r"record\.history\[0\]\[\.\.\.\]: expected `float`, got `bool`"),
        (("run", "seed"), 10**400, r"record\.run: seed is 1000"),
        (("run", "evaluations"), [5], r"record\.run\.evaluations\[0\]: expected `object`, got `int`"),
        (("run", "track"), "unfair", r"record\.run\.track: invalid enum value 'unfair'"),
        (("provenance", "packages"), 5, "packages of the provenance are 5"),
        (("unknown",), 5, "record: object contains unknown field `unknown`"),
    ],
)
def test_impossible_values_are_refused_by_their_name(tmp_path, keys, value, where):
    values = record_of(expand(request(5), tmp_path)[0], 0).to_json()
    values["metrics"] = [{**METRIC, "n": 10}]
    Record.from_json(values)
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(RequestError, match=where):
        Record.from_json(values)
