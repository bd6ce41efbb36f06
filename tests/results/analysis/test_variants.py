"""Runs of one label that differ are not averaged."""

import shutil

import pytest

from results.analysis.frame import load_runs
from results.analysis.statistics import summarize
from results.analysis.variants import setup, without_descriptions
from results.store import CONFIG, RECORD, read_json, write_json


def test_seeds_labels_paths_and_what_a_baseline_is_are_no_part_of_a_setup(store):
    first, second = (read_json(store(seed=seed, method_label=label) / CONFIG) for seed, label in ((0, "a"), (1, "b")))
    second["plugins"] = ["mine.py"]
    second["track"] = "recipe"
    second["method"]["baseline"] = "upper"
    assert setup(first, "linear", "shapes") == setup(second, "linear", "shapes")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda config: config["method"].update(version=2), "method.version"),
        (lambda config: config["method"].update(digest="f" * 64), "method.digest"),
        (lambda config: config["pretrain"].update(lr=0.1), "pretrain.lr"),
        (lambda config: config["evaluations"][0].update(version=2), "evaluation.version"),
        (lambda config: config["recipes"]["standard"].update(flip=0.0), "recipes.standard.flip"),
    ],
)
def test_what_decides_a_number_separates_methods_of_one_label(store, runs, change, word):
    store({"linear": 60.0}, seed=0)
    folder = store({"linear": 70.0}, seed=1)
    record = read_json(folder / RECORD)
    change(record["run"])
    write_json(folder / RECORD, record)
    summary = summarize(load_runs(runs).results)
    assert sorted(summary["mean"]) == [60.0, 70.0]
    assert all(method.startswith("simclr{" + word) for method in summary["method"])
    assert "ffffffffff" not in "".join(summary["method"])
    assert set(summary["method_name"]) == {"simclr"}


def test_another_version_of_the_target_separates_its_column_only(store, runs):
    measured = {"linear": 60.0, "linear@cifar100": 30.0}
    options = {"dataset": "cifar10", "evaluations": ("linear",), "evaluate_on": ("cifar10", "cifar100")}
    store(measured, seed=0, **options)
    folder = store(measured, seed=1, **options)
    record = read_json(folder / RECORD)
    record["run"]["evaluations"][1]["dataset"]["version"] = 2
    write_json(folder / RECORD, record)
    methods = load_runs(runs).results.groupby("evaluated_on")["method"].agg(set).to_dict()
    assert methods == {
        "cifar10": {"simclr"},
        "cifar100": {"simclr{evaluation.dataset.version=1}", "simclr{evaluation.dataset.version=2}"},
    }


def test_an_augmentation_that_was_added_for_other_methods_is_no_part_of_a_setup(store):
    earlier = read_json(store() / CONFIG)
    later = {**earlier, "recipes": {**earlier["recipes"], "small": earlier["recipes"]["standard"]}}
    assert setup({**later, "unused": ["small"]}, "linear", "shapes") == setup(earlier, "linear", "shapes")
    assert setup({**later, "unused": []}, "linear", "shapes") != setup(earlier, "linear", "shapes")


def test_what_is_measured_during_training_is_no_part_of_a_setup(store):
    config = read_json(store() / CONFIG)
    watched = {**config, "pretrain": {**config["pretrain"], "knn_every": 2}}
    assert setup(watched, "linear", "shapes") == setup(config, "linear", "shapes")


def test_seeds_of_one_setup_are_averaged(store, runs):
    for seed in (0, 1):
        store({"linear": 60.0 + seed}, seed=seed)
    assert summarize(load_runs(runs).results)[["method", "mean", "n"]].to_numpy().tolist() == [["simclr", 60.5, 2]]


def test_a_copied_run_counts_once(store, runs):
    folder = store({"linear": 60.0})
    shutil.copytree(folder, runs / "a-copy")
    assert summarize(load_runs(runs).results)["n"].to_list() == [1]


def test_the_source_of_a_plugin_is_the_same_wherever_a_version_stored_it():
    earlier = {"name": "mine", "version": 1, "options": {}, "digest": "1a2b3c4d5e6f", "label": "mine"}
    now = {**earlier, "digest": "", "source": "1a2b3c4d5e6f"}
    assert without_descriptions(earlier) == without_descriptions(now)
    changed = {**now, "source": "ffffffffffff"}
    assert without_descriptions(earlier) != without_descriptions(changed)
