"""Stored runs as data frames."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from results.analysis.frame import COST_COLUMNS, NUMBERS, RESULT_COLUMNS, RUN_COLUMNS, load_runs, read_histories
from results.errors import RequestError
from results.store import CONFIG, RECORD, read_json, write_json


def test_a_row_per_run_and_metric(store, runs):
    folder = store({"linear": 60.0, "knn": 55.0}, dataset="cifar10", method_label="simclr[loss=log_mean]", seed=2)
    results = load_runs(runs).results
    assert list(results.columns) == RESULT_COLUMNS
    assert results["evaluation"].to_list() == ["linear", "knn"]
    row = results.iloc[0]
    assert row[["dataset", "evaluated_on", "backbone", "protocol", "fairness"]].to_list() == [
        *["cifar10", "cifar10", "conv4", "quick", "controlled"]
    ]
    assert (row["method"], row["method_name"], row["seed"]) == ("simclr[loss=log_mean]", "simclr", 2)
    assert (row["value"], row["n"], row["run"]) == (60.0, 2000, folder.name)
    assert (row["views"], row["pretrain_seconds"], row["seconds"]) == (160_000, 20.0, 23.0)
    assert (row["views_per_second"], row["device"], row["budget"]) == (8000.0, "Some CPU", "160,000 views")


def test_one_run_measured_on_several_data_sets(store, runs):
    folder = store({"linear": 60.0, "linear@cifar100": 30.0}, dataset="cifar10", evaluate_on=("cifar10", "cifar100"))
    results = load_runs(runs).results
    assert results["evaluated_on"].to_list() == ["cifar10", "cifar100"]
    assert results["setup"].nunique() == 2
    assert set(results["run"]) == {folder.name}


def test_what_was_not_trained_has_no_speed(store, runs):
    store({"linear": 40.0}, method="random")
    row = load_runs(runs).results.iloc[0]
    assert row["views"] == 0
    assert row[["views_per_second", "flops"]].isna().all()


def test_budget_in_epochs(store, runs):
    store({"linear": 40.0}, epochs=200)
    assert load_runs(runs).results["budget"].to_list() == ["200 epochs"]


def test_budget_in_flops(store, runs):
    store({"linear": 40.0}, flops=2e15)
    assert load_runs(runs).results["budget"].to_list() == ["2e+15 FLOPs"]


def test_problems_have_their_reasons(store, runs):
    store({"linear": 60.0}, seed=0)
    store({"linear": 10.0}, seed=1, warning="std 0.01")
    store({"linear": 10.0}, seed=5, warning="collapsed: all images have one representation")  # a word is not said twice
    store(seed=2)
    store(seed=3, failure={"reason": "the loss became nan in epoch 2", "traceback": "", "time": ""})
    (store(seed=4) / CONFIG).write_text("{")
    problems = load_runs(runs).problems.set_index("seed")
    assert problems.loc[1.0, ["status", "reason"]].to_list() == ["collapsed", "std 0.01"]
    assert problems.loc[5.0, ["status", "reason"]].to_list() == ["collapsed", "all images have one representation"]
    assert problems.loc[2.0, "status"] == "unfinished"
    assert problems.loc[3.0, ["status", "reason"]].to_list() == ["failed", "the loss became nan in epoch 2"]
    unreadable = problems[problems.index.isna()]
    assert unreadable["status"].to_list() == ["unreadable"]
    assert unreadable["reason"].iloc[0].endswith("config.json is damaged: it is not JSON")
    assert len(problems) == 5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.pop("cost"),
        lambda record: record["metrics"][0].pop("label"),
        lambda record: record.update(metrics=[{"value": "much"}]),
        lambda record: record.update(run=[]),
        lambda record: record.update(schema=99),
    ],
)
def test_a_spoilt_record_is_reported_and_the_others_are_read(store, runs, spoil):
    store({"linear": 60.0}, seed=0)
    folder = store({"linear": 61.0}, seed=1)
    record = json.loads((folder / RECORD).read_text())
    spoil(record)
    write_json(folder / RECORD, record)
    frames = load_runs(runs)
    assert frames.results["value"].to_list() == [60.0]
    assert frames.problems["status"].to_list() == ["unreadable"]


def test_other_folders_are_passed_over(store, runs):
    store({"linear": 60.0})
    (runs / "notes").mkdir()
    (runs / "readme.txt").write_text("mine")
    assert len(load_runs(runs).runs) == 1


def test_only_some_runs(store, runs):
    folder = store({"linear": 60.0}, seed=0)
    store({"linear": 61.0}, seed=1)
    assert load_runs(runs, only=[folder.name]).results["value"].to_list() == [60.0]


def test_the_frames_of_a_notebook(store, runs):
    store({"linear": 60.0, "linear>averaged": 61.0, "linear>transductive": 62.0}, seed=0, epochs_seen=2)
    store({"linear": 30.0}, method="random", seed=0)
    store(seed=1, failure={"reason": "out of memory"})
    frames = load_runs(runs)
    assert list(frames.runs.columns) == RUN_COLUMNS
    assert frames.runs["status"].value_counts().to_dict() == {"done": 2, "failed": 1}
    shown = frames.results[["method", "baseline", "refinement", "transductive", "value"]].to_numpy().tolist()
    assert sorted(shown) == [
        ["random", "lower", "", False, 30.0],
        ["simclr", "", "", False, 60.0],
        ["simclr", "", "averaged", False, 61.0],
        ["simclr", "", "transductive", True, 62.0],
    ]
    assert frames.unrefined["value"].to_list() == frames.results["value"].to_list()[:2]
    assert set(frames.refined["refinement"]) == {"averaged", "transductive"}
    assert list(frames.costs.columns) == COST_COLUMNS
    assert sorted(frames.costs["views"]) == [0, 160_000]
    assert frames.history[["method", "seed", "epoch", "loss"]].to_numpy().tolist() == [
        ["simclr", 0, 1, 4.0],
        ["simclr", 0, 2, 2.0],
    ]
    assert frames.problems["reason"].to_list() == ["out of memory"]


def test_a_baseline_is_what_the_record_declares_or_a_known_name(store, runs):
    store({"linear": 60.0}, method="supervised")
    for label, declared in {"oracle": "upper", "supervised_too": ""}.items():
        folder = store({"linear": 60.0}, method=label)
        for name in (CONFIG, RECORD):
            stored = json.loads((folder / name).read_text())
            (stored if name == CONFIG else stored["run"])["baseline"] = declared
            write_json(folder / name, stored)
    found = load_runs(runs).runs.set_index("method")["baseline"].to_dict()
    assert found == {"supervised": "upper", "oracle": "upper", "supervised_too": ""}


@pytest.mark.parametrize(
    ("device", "machine"),
    [("Xeon, 1 threads, float32", "Xeon, 1 threads, float32, Linux"), ("NVIDIA H200", "NVIDIA H200, Xeon, Linux")],
)
def test_a_processor_that_the_device_names_is_not_named_twice(store, runs, device, machine):
    folder = store({"linear": 60.0})
    record = json.loads((folder / RECORD).read_text())
    record["provenance"].update(device=device, processor="Xeon", system="Linux")
    write_json(folder / RECORD, record)
    assert load_runs(runs).runs["machine"].to_list() == [machine]


def test_a_folder_that_is_not_there_is_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match=r"no runs folder .*bench run"):
        load_runs(tmp_path / "nowhere")


def test_histories(store, runs):
    first, second = (store({"linear": 60.0}, seed=seed, epochs_seen=2, seconds=10.0) for seed in (0, 1))
    history = read_histories([first])
    assert history["run"].to_list() == [first.name] * 2
    assert history[["epoch", "views", "seconds", "loss"]].to_numpy().tolist() == [
        [1, 80_000, 5.0, 4.0],
        [2, 160_000, 10.0, 2.0],
    ]
    assert len(read_histories([first, second, runs / "missing"])) == 4


def test_runs_of_several_folders_are_merged_and_conflicts_named(store, runs):
    mine = store({"linear": 60.0, "knn": 50.0}, seed=0)
    store({"linear": 61.0}, seed=1)
    failed = store({"linear": 62.0}, seed=2)
    theirs = runs.parent / "theirs"
    shutil.copytree(runs, theirs)
    shutil.rmtree(mine)
    store({"linear": 60.25, "cluster": 40.0}, seed=0)
    shutil.rmtree(failed)
    store(failure={"reason": "out of memory"}, seed=2)
    frames = load_runs([theirs, runs])
    assert sorted(map(tuple, frames.results[["seed", "evaluation", "value"]].to_numpy())) == [
        *((0, "cluster", 40.0), (0, "knn", 50.0), (0, "linear", 60.0)),
        *((1, "linear", 61.0), (2, "linear", 62.0)),
    ]
    assert frames.problems.empty
    assert frames.conflicts == (f"{mine.name}: linear top1 is 60.00 and 60.25 ({theirs}, {runs})",)
    assert load_runs([runs, theirs]).results.set_index(["seed", "evaluation"])["value"][0, "linear"] == 60.25
    assert frames.folders[failed.name] == theirs / failed.name


def test_an_empty_folder_and_only_failures_give_empty_frames(store, runs):
    assert load_runs(runs).runs.empty
    store(failure={"reason": "out of memory"})
    frames = load_runs(runs)
    assert frames.results.empty
    assert list(frames.results.columns) == RESULT_COLUMNS
    assert len(frames.problems) == 1
    numbers = [
        "views",
        "seconds",
        "pretrain_seconds",
        "views_per_second",
        "flops",
        "peak_memory",
        "epochs",
        "last_loss",
    ]
    assert {str(frames.runs[name].dtype) for name in numbers} == {"float64"}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("results.names, results.record, results.store, results.errors", {"pandas", "numpy", "matplotlib", "jinja2"}),
        ("results.report, results.report.terminal, results.figures.draw", {"matplotlib", "seaborn", "scipy.stats"}),
        ("results.figures.accuracy, results.figures.feature_map", set()),
    ],
)
def test_what_is_imported(modules, heavy):
    code = f"import {modules}, sys; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert not loaded & {"torch", "methods", "protocols", "bench", "slurm", *heavy}


def test_columns_of_numbers_are_numbers_even_where_nothing_was_measured(store, runs):
    store()
    frame = load_runs(runs).runs
    assert {"views", "seconds", "flops", "peak_memory", "first_loss", "lr", "seed"} <= set(NUMBERS)
    assert not [name for name in NUMBERS if frame[name].dtype.kind not in "if"]


@pytest.mark.parametrize("seed", [99999999999999999999, 1e99, -1, 2**63])
def test_a_run_of_an_impossible_seed_is_left_out_and_named(store, runs, seed):
    store({"linear": 60.0}, seed=0)
    path = store({"linear": 70.0}, seed=1)
    for name in (CONFIG, RECORD):
        values = read_json(path / name)
        (values if name == CONFIG else values["run"])["seed"] = seed
        write_json(path / name, values)
    frames = load_runs(runs)
    assert frames.results["value"].to_list() == [60.0]
    assert frames.problems["run"].to_list() == [path.name]
    assert re.search("seed is|seed: expected `int`", frames.problems["reason"].item())
