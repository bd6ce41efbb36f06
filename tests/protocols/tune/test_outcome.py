"""The tuned protocol resolves to the settings of the trials that were chosen."""

import dataclasses

import pytest

from protocols.spec import protocol as protocols
from protocols.spec.grid import Request, expand
from protocols.spec.plugins import METHODS
from protocols.tune.outcome import chosen_trials, store_tuned_runs, tuned_protocol
from protocols.tune.search import plan_searches
from protocols.tune.space import load_spaces
from results.errors import RequestError
from results.names import UNTRAINED
from results.tuning import read_tuning

TRAINED = [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]


def written(folder, chosen, *, protocol="quick", **words):
    """The search, and the path of the tuned protocol."""
    request = Request(datasets=["digits"], protocol=protocol, **words)
    (one,) = plan_searches(request, folder, load_spaces(), trials=4)
    path = folder / "tuned.toml"
    path.write_text(tuned_protocol(one, chosen, to=path, base=protocol), encoding="utf-8")
    return one, path


def settings(run):
    return run.pretrain, run.method.options, run.augmentations, run.backbone


@pytest.mark.parametrize("protocol", ["quick", "graphnnclr2025-small", "relational2020"])
def test_every_method_has_the_settings_of_its_trial(tmp_path, protocol):
    methods = TRAINED if protocol == "quick" else ["simclr", "relational"]
    chosen = {method: index % 4 for index, method in enumerate(methods)}
    one, path = written(tmp_path, chosen, protocol=protocol, methods=methods, seeds=[7])
    trials = {run.folder(): run for run in one.runs}
    tuned = {run.method.name: run for run in expand(Request(protocol=str(path), seeds=[20]), tmp_path)}
    assert set(tuned) == {*methods, "random"} & set(tuned)
    for method, index in chosen.items():
        trial = trials[one.search.methods[method].trials[index].runs["7"]]
        assert settings(tuned[method]) == settings(trial), method
        assert tuned[method].dataset.name == "digits"


def test_a_default_that_wins_is_the_run_of_the_default(tmp_path):
    _, path = written(tmp_path, {"simclr": 0, "byol": 2}, methods=["simclr", "byol"])
    (tuned,) = expand(Request(protocol=str(path), seeds=[20], methods=["simclr"]), tmp_path)
    (default,) = expand(Request(seeds=[20], methods=["simclr"], datasets=["digits"]), tmp_path)
    assert tuned.folder() == default.folder()


def test_the_evaluations_that_were_asked_for_measure_the_tuned_runs(tmp_path):
    labels = ["few-shot[shots=1]", "knn"]
    one, path = written(tmp_path, {"simclr": 1}, methods=["simclr"], evaluations=labels)
    assert one.search.evaluation == labels[0]
    (tuned,) = expand(Request(protocol=str(path), seeds=[20], methods=["simclr"]), tmp_path)
    assert [evaluation.label for evaluation in tuned.evaluations] == labels


def test_changes_of_the_command_line_are_part_of_it(tmp_path):
    changes = ["simclr.hidden=64", "pretrain.batch=32", "recipes.standard.flip=0.1", "linear.l2=0.01"]
    one, path = written(tmp_path, {"simclr": 1}, methods=["simclr"], views=3000, settings=changes)
    (tuned,) = expand(Request(protocol=str(path), seeds=[20], methods=["simclr"]), tmp_path)
    trial = next(run for run in one.runs if run.folder() == one.search.methods["simclr"].trials[1].runs["0"])
    assert settings(tuned) == settings(trial)
    assert (tuned.pretrain.views, tuned.method.options["hidden"], tuned.augmentations["standard"].flip) == (
        3000,
        64,
        0.1,
    )
    assert tuned.evaluations[0].options == trial.evaluations[0].options


def test_the_outcome_says_where_it_is_from(tmp_path):
    one, path = written(tmp_path, {"simclr": 1}, methods=["simclr"], seeds=[3, 4])
    protocol = protocols.load(str(path))
    assert dataclasses.asdict(protocol.tuned) == {
        "search": one.name,
        "protocol": "quick",
        "dataset": "digits",
        "backbone": "conv4",
        "evaluation": "linear",
        "trials": 4,
        "seeds": (3, 4),
        "methods": ("simclr",),
        "halving": None,
        "fewest": None,
    }
    assert "halving" not in path.read_text()
    assert protocol.grids[0].seeds == (14, 15, 16, 17, 18)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"seeds": [3, 20]}, "the settings were chosen with seed 3"),
        ({"methods": ["byol"]}, "byol was not tuned here"),
        ({"methods": ["simclr[temperature=0.2]"]}, "was not tuned here"),
        ({"views": 5}, "chosen for its own budget"),
        ({"settings": ["pretrain.lr=1"]}, "chosen for its own budget"),
    ],
)
def test_a_tuned_protocol_refuses_what_would_mix_tuned_and_default(tmp_path, words, complaint):
    _, path = written(tmp_path, {"simclr": 1}, methods=["simclr"], seeds=[3])
    with pytest.raises(RequestError, match=complaint):
        expand(Request(**{"protocol": str(path), "seeds": [20], **words}), tmp_path)


def test_different_numbers_of_trials_stand_in_the_label(tmp_path):
    request = Request(datasets=["digits"], methods=["simclr", "byol"])
    (one,) = plan_searches(request, tmp_path, load_spaces(), trials={"simclr": 4, "byol": 2})
    path = tmp_path / "tuned.toml"
    path.write_text(tuned_protocol(one, {"simclr": 3, "byol": 1}, to=path, base="quick"), encoding="utf-8")
    measured = Request(protocol=str(path))
    store_tuned_runs(measured, expand(measured, tmp_path), tmp_path)
    (column,) = read_tuning(tmp_path).columns.values()
    assert (column.label, column.count) == ("quick, best of 2 to 4 trials", "2 to 4")


def test_a_tuned_protocol_is_not_tuned_again(tmp_path):
    _, path = written(tmp_path, {"simclr": 1}, methods=["simclr"])
    with pytest.raises(RequestError, match="is tuned already"):
        plan_searches(Request(protocol=str(path)), tmp_path, load_spaces(), trials=2)


def test_the_highest_score_is_chosen_and_the_default_where_it_is_as_high():
    assert chosen_trials({"a": [50.0, None, 60.0, 60.0], "b": [70.0, 70.0], "c": [None, 1.0]}) == {
        "a": 2,
        "b": 0,
        "c": 1,
    }
    with pytest.raises(RequestError, match="no trial of b has finished"):
        chosen_trials({"a": [1.0], "b": [None, None]})
