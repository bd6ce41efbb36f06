"""What is left to do of a grid."""

import pytest

from protocols.runner import execute
from protocols.spec.execution import ExecutionContext
from protocols.spec.grid import Request, expand, parse_seeds, plan
from protocols.system.progress import ProgressListener
from results.errors import RequestError
from results.store import RECORD, read_json, write_json

ASKED = {"methods": ["random"], "datasets": ["digits"], "seeds": [0]}


def asked(folder, **words):
    return plan(expand(Request(**{**ASKED, **words}), folder), folder / "runs", folder)


def names(runs):
    return [[run.evaluation_name(evaluation) for evaluation in run.evaluations] for run in runs]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with one run, of which ``knn`` was measured."""
    folder = tmp_path_factory.mktemp("plan")
    (run,) = asked(folder, evaluations=["knn"]).todo
    execute(run, ExecutionContext(folder / "runs", folder, "cpu"), ProgressListener())
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


def test_an_augmentation_that_one_of_the_methods_uses_may_be_changed(tmp_path):
    words = {"methods": ["swav[crops=2]", "simclr"], "settings": ["recipes.small.size=12"]}
    with_crops, without = expand(Request(**{**ASKED, **words}), tmp_path)
    assert (with_crops.unused, without.unused) == ((), ("small",))


@pytest.mark.parametrize("kind", ["evaluation", "refinement"])
def test_what_was_measured_before_an_option_came_counts_with_its_default(tmp_path, kind):
    words = {"evaluations": ["knn"], "refinements": ["averaged[k=3]"]}
    (run,) = asked(tmp_path, **words).todo
    execute(run, ExecutionContext(tmp_path / "runs", tmp_path, "cpu"), ProgressListener())
    path = tmp_path / "runs" / run.folder() / RECORD
    record = read_json(path)
    for part in record["run"]["evaluations"]:
        if kind == "evaluation":
            del part["options"]["temperature"]
        elif part["refinement"]:
            del part["refinement"]["options"]["rounds"]
    write_json(path, record)
    assert names(asked(tmp_path, **words).todo) == []
    assert names(asked(tmp_path, settings=["averaged.rounds=1"], **words).todo) == [
        ["knn after averaged[k=3,rounds=1]"]
    ]


def labels(folder, **words):
    return [
        (run.seed, run.dataset.name, run.backbone.name, run.method.label, *map(run.evaluation_name, run.evaluations))
        for run in expand(Request(**words), folder)
    ]


def test_a_grid_takes_labels_and_runs_nothing_twice(tmp_path):
    methods = ["relational[views=4]", "relational[views=8]", "simclr", "relational", "relational[views=8]"]
    found = labels(tmp_path, methods=methods, seeds=[0], evaluations=["knn"])
    assert [label for _, _, _, label, _ in found] == ["relational", "relational[views=8]", "simclr"]


def test_labels_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom methods import Method, register\n@register('mine')\n"
        "class Mine(Method):\n    @dataclass(frozen=True)\n    class Options:\n        width: int = 3\n"
    )
    found = expand(Request(methods=[f"{path}[width=5]", f"{path}"], seeds=[0]), tmp_path)
    assert [run.method.label for run in found] == ["mine[width=5]", "mine"]
    assert found[0].plugins == (str(path),)


GRIDS = """
name = "two"
extends = "quick"
summary = "two grids"
[[grid]]
methods = ["random", "simclr"]
datasets = ["digits"]
backbones = ["conv4"]
seeds = [1, 2]
evaluations = ["linear"]
evaluate_on = ["shapes"]
[[grid]]
methods = ["random"]
datasets = ["digits", "shapes"]
backbones = ["conv4", "resnet8"]
seeds = [1]
evaluations = ["knn"]
"""


@pytest.fixture
def two(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(GRIDS, encoding="utf-8")
    return str(path)


def test_several_grids_are_joined(tmp_path, two):
    assert labels(tmp_path, protocol=two) == [
        (1, "digits", "conv4", "random", "linear on shapes", "knn"),
        (1, "digits", "conv4", "simclr", "linear on shapes"),
        (1, "digits", "resnet8", "random", "knn"),
        (1, "shapes", "conv4", "random", "knn"),
        (1, "shapes", "resnet8", "random", "knn"),
        (2, "digits", "conv4", "random", "linear on shapes"),
        (2, "digits", "conv4", "simclr", "linear on shapes"),
    ]


def test_data_sets_and_backbones_choose_among_several_grids(tmp_path, two):
    assert labels(tmp_path, protocol=two, datasets=["shapes"], backbones=["resnet8"]) == [
        (1, "shapes", "resnet8", "random", "knn")
    ]
    assert labels(tmp_path, protocol=two, datasets=["shapes"], methods=["byol"], seeds=[5]) == [
        (5, "shapes", "conv4", "byol", "knn"),
        (5, "shapes", "resnet8", "byol", "knn"),
    ]
    with pytest.raises(RequestError, match="two has no runs of cifar10; its datasets are digits, shapes"):
        labels(tmp_path, protocol=two, datasets=["shapes", "cifar10"])


def test_by_force_everything_is_left(measured):
    runs = expand(Request(**ASKED, evaluations=["knn"]), measured)
    assert names(plan(runs, measured / "runs", measured, force=True).todo) == [["knn"]]


@pytest.mark.parametrize("text", ["9" * 5000, f"0-{'9' * 5000}", f"{'9' * 5000}-{'9' * 5000}", f"0-{2**63}"])
def test_seeds_of_any_length_are_too_large_in_one_line(text):
    """More than 4,300 digits are no number to Python."""
    with pytest.raises(RequestError, match="is too large") as raised:
        parse_seeds(text)
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["epochs", "lr"])
def test_settings_are_finite(tmp_path, option, value):
    words = {"epochs": float(value)} if option == "epochs" else {"settings": [f"pretrain.{option}={value}"]}
    with pytest.raises(RequestError, match=rf"^pretrain\.{option} is {value}; it must be finite$"):
        expand(Request(**ASKED, **words), tmp_path)


def test_a_change_of_a_refinement_holds_under_its_earlier_and_its_present_name(tmp_path):
    """Wherever either was typed, or stands in the protocol."""
    labels = set()
    for typed in ("averaged", "neighbour_mean"):
        for changed in ("averaged", "neighbour_mean"):
            words = {"evaluations": ["knn"], "refinements": [typed], "settings": [f"{changed}.k=3"]}
            labels |= {tuple(names) for names in names(asked(tmp_path, **words).todo)}
    assert labels == {("knn", "knn after averaged[k=3]")}
    small = asked(tmp_path, protocol="graphnnclr2025-small", settings=["neighbour_mean.k=3"]).todo
    assert any("after averaged[k=3]" in name for name in names(small)[0])


def test_a_grid_without_data_sets_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\nextends = "quick"\nsummary = ""\n[grid]\nmethods = ["simclr"]')
    with pytest.raises(RequestError, match="the grid of mine names no datasets; add --datasets"):
        expand(Request(protocol=str(tmp_path / "mine.toml")), tmp_path)
