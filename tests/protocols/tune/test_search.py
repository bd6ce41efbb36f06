"""A search is a list of ordinary runs on held-out training images."""

import dataclasses
import math

import pytest

from protocols.spec.grid import Request
from protocols.spec.labels import HELD_OUT
from protocols.spec.plugins import METHODS
from protocols.tune import search as search_module
from protocols.tune.search import plan_searches
from protocols.tune.space import load_spaces
from results.errors import RequestError
from results.names import UNTRAINED

ASKED = Request(methods=["simclr", "byol"], datasets=["shapes"], views=4000)


def planned(folder, trials=4, **words):
    return plan_searches(dataclasses.replace(ASKED, **words), folder, load_spaces(), trials=trials)


def test_trials_are_runs_on_held_out_images_with_one_evaluation(tmp_path):
    (one,) = planned(tmp_path)
    assert len(one.runs) == 8
    assert {run.dataset.name for run in one.runs} == {HELD_OUT + "shapes"}
    assert {tuple(e.label for e in run.evaluations) for run in one.runs} == {("linear",)}
    assert {run.seed for run in one.runs} == {0}
    assert {run.pretrain.views for run in one.runs} == {4000}
    folders = [run for method in one.search.methods.values() for trial in method.trials for run in trial.runs.values()]
    assert sorted(folders) == sorted(run.folder() for run in one.runs)


def test_what_a_trial_sets_reaches_its_run(tmp_path):
    (one,) = planned(tmp_path)
    runs = {run.folder(): run for run in one.runs}
    for method, search in one.search.methods.items():
        own = {"simclr": "temperature", "byol": "momentum"}[method]
        for trial in search.trials[1:]:
            run = runs[trial.runs["0"]]
            assert run.pretrain.lr == trial.setting["pretrain.lr"]
            assert run.pretrain.weight_decay == trial.setting["pretrain.weight_decay"]
            assert list(run.augmentations["standard"].crop) == trial.setting["recipes.standard.crop"]
            assert run.method.options[own] == trial.setting[own]
    assert {runs[search.trials[0].runs["0"]].pretrain.lr for search in one.search.methods.values()} == {6e-3}


def test_what_set_fixes_is_the_same_in_all_trials(tmp_path):
    """Of one method, and what all share."""
    fixed = ["simclr.temperature=0.3", "pretrain.weight_decay=0.001", "recipes.standard.crop=[0.4, 1.0]"]
    (one,) = planned(tmp_path, settings=[*fixed, "byol.pretrain.lr=0.01"])
    runs = {method: [run for run in one.runs if run.method.name == method] for method in ("simclr", "byol")}
    assert {run.method.options["temperature"] for run in runs["simclr"]} == {0.3}
    assert {run.pretrain.weight_decay for run in one.runs} == {0.001}
    assert {run.augmentations["standard"].crop for run in one.runs} == {(0.4, 1.0)}
    assert {run.pretrain.lr for run in runs["byol"]} == {0.01}
    assert len({run.pretrain.lr for run in runs["simclr"]}) > 1
    assert len({run.method.options["momentum"] for run in runs["byol"]}) > 1


def test_methods_have_equal_trials_whenever_it_is_interrupted(tmp_path):
    (one,) = planned(tmp_path, seeds=[3, 4])
    assert [run.method.name for run in one.runs[:8]] == ["simclr"] * 2 + ["byol"] * 2 + ["simclr"] * 2 + ["byol"] * 2
    assert [run.seed for run in one.runs[:4]] == [3, 4, 3, 4]


def test_more_trials_and_further_methods_are_the_same_search(tmp_path):
    (few,), (many,) = planned(tmp_path), planned(tmp_path, trials=8, methods=["simclr", "byol", "relational"])
    assert few.name == many.name
    assert {run.folder() for run in few.runs} < {run.folder() for run in many.runs}
    assert planned(tmp_path, views=5000)[0].name != few.name
    assert planned(tmp_path, seeds=[1])[0].name != few.name
    assert planned(tmp_path, evaluations=["knn"])[0].name != few.name


def test_every_trained_method_can_be_tuned(tmp_path):
    """Settings at both ends of every range are accepted by the method."""
    names = [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]
    (one,) = planned(tmp_path, trials=9, methods=names)
    assert {run.method.name for run in one.runs} == set(names)
    for run in one.runs:
        method = METHODS.get(run.method.name)
        method.Options(**run.method.options)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"methods": ["random"]}, "random is not trained and has nothing to tune"),
        ({"methods": ["simclr[temperature=0.1]"]}, "tune takes names of methods"),
        ({"methods": ["simclrr"]}, "did you mean simclr?"),
        ({"refinements": ["graph"]}, "neither refined nor evaluated on other data"),
        ({"evaluate_on": ["digits"]}, "neither refined nor evaluated on other data"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path, words, complaint):
    with pytest.raises(RequestError) as raised:
        planned(tmp_path, **words)
    assert complaint in str(raised.value)


def test_untrained_baselines_of_the_protocol_are_left_to_the_tuned_runs(tmp_path):
    (one,) = planned(tmp_path, methods=[], trials=2)
    assert set(one.search.methods) == {"relational", "simclr", "byol", "supervised"}


def test_trials_are_not_refined_though_the_protocol_is(tmp_path):
    (one,) = planned(tmp_path, protocol="graphnnclr2025-small", methods=["simclr"], datasets=["digits"])
    assert all(evaluation.refinement is None for run in one.runs for evaluation in run.evaluations)


def scores_by_lr(settings):
    """A replacement of ``mean_score``: the learning rate of a run, by its folder."""
    return lambda folders, evaluation, runs: next((settings[folder] for folder in folders if folder in settings), None)


def all_halved(folder, monkeypatch, **words):
    """The plans of a halved search after each round of results, until nothing follows."""
    found, lr_of = [], {}
    while True:
        monkeypatch.setattr(search_module, "mean_score", scores_by_lr(lr_of))
        (one,) = plan_searches(
            dataclasses.replace(ASKED, **words), folder, load_spaces(), trials=9, halving=3, runs=folder
        )
        found.append(one)
        if not one.later:
            return found
        lr_of |= {run.folder(): run.pretrain.lr for run in one.runs}


def test_halving_trains_the_best_longer(tmp_path, monkeypatch):
    first, last = all_halved(tmp_path, monkeypatch)
    assert (len(first.runs), first.later, len(last.runs), last.later) == (18, 6, 24, 0)
    assert {run.folder() for run in first.runs} < {run.folder() for run in last.runs}
    assert (first.name, first.search.halving) == (last.name, 3)
    assert first.name != planned(tmp_path, trials=9)[0].name
    runs = {run.folder(): run for run in last.runs}
    for method in last.search.methods.values():
        short = [runs[trial.shorter[0]["0"]] for trial in method.trials]
        assert {run.pretrain.views for run in short} == {1333}
        lr_of = [run.pretrain.lr for run in short]
        best = sorted(range(1, 9), key=lambda index: -lr_of[index])[:2]
        assert [index for index, trial in enumerate(method.trials) if trial.runs] == [0, *sorted(best)]
        for trial in method.trials:
            for folder in trial.runs.values():
                assert runs[folder].pretrain.views == 4000
                assert runs[folder].pretrain.lr == runs[trial.shorter[0]["0"]].pretrain.lr
    assert sum(run.pretrain.views for run in last.runs if run.method.name == "simclr") == pytest.approx(
        sum(run.pretrain.views for run in last.runs if run.method.name == "byol")
    )


def test_a_trial_that_failed_is_no_survivor(tmp_path, monkeypatch):
    monkeypatch.setattr(search_module, "mean_score", lambda folders, evaluation, runs: math.nan)
    (one,) = plan_searches(ASKED, tmp_path, load_spaces(), trials=9, halving=3, runs=tmp_path)
    assert [[bool(trial.runs) for trial in method.trials] for method in one.search.methods.values()] == [
        [True, *[False] * 8]
    ] * 2
    assert one.later == 0
    assert not one.repeats_failed


def test_tpe_adds_a_trial_of_each_method_once_the_last_has_a_score(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    words = {"trials": 5, "sampler": "tpe", "runs": tmp_path}
    seen, scores = [], {}
    while not seen or seen[-1].later:
        monkeypatch.setattr(search_module, "mean_score", scores_by_lr(scores))
        (one,) = plan_searches(ASKED, tmp_path, load_spaces(), **words)
        seen.append(one)
        scores |= {run.folder(): run.pretrain.lr for run in one.runs}
    assert [len(one.runs) for one in seen] == [4, 6, 8, 10]
    assert [one.later for one in seen] == [6, 4, 2, 0]
    assert len({one.name for one in seen}) == 1
    assert seen[-1].search.sampler == "tpe"


def test_tpe_and_halving_exclude_each_other(tmp_path):
    with pytest.raises(RequestError, match="exclude each other"):
        plan_searches(ASKED, tmp_path, load_spaces(), trials=9, sampler="tpe", halving=3)


def test_the_number_of_trials_may_differ_between_methods(tmp_path):
    (one,) = planned(tmp_path, trials={"simclr": 4, "byol": 2})
    assert {name: len(method.trials) for name, method in one.search.methods.items()} == {"simclr": 4, "byol": 2}
    assert one.name == planned(tmp_path)[0].name
