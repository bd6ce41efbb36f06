"""Runs, a plugin file and a protocol file of commit 4775236 go on working; the fixture's README says what they are."""

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.tools import forked

FIXTURE = Path(__file__).parent / "fixtures" / "version-4775236"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"BENCH_RUNS", "BENCH_DATA"}}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"

SMALL = "--datasets digits --views 8000 --jobs 1 --set pretrain.precision=float32"
SIMCLR = "run --methods simclr --set simclr.hidden=64 --set simclr.output=32"
REFINED = "--refine averaged,averaged[beside=true],graph --set graph.epochs=3 --set graph.clusters=10"
SPECTRAL = "run --methods plugins/spectral.py --seeds 0 --evaluations linear,knn"
GRAPH_NNCLR = (
    "run --methods graph_nnclr --seeds 0 --evaluations knn --set graph_nnclr.prototypes=64 --set graph_nnclr.hidden=64"
    " --set graph_nnclr.bottleneck=32 --set graph_nnclr.window=2"
)

DONE = {
    "simclr": ("digits-conv4-simclr-s0-ea6c61aa", f"{SIMCLR} --evaluations linear,knn {REFINED} {SMALL} --seeds 0"),
    "spectral": ("digits-conv4-spectral-s0-d79a9fe2", f"{SPECTRAL} {SMALL}"),
    "graph_nnclr": ("digits-conv4-graph_nnclr-s0-609f15ed", f"{GRAPH_NNCLR} {SMALL}"),
    "mine": ("digits-conv4-simclr-s0-064a24a1", "run --protocol mine.toml --jobs 1"),
}
INTERRUPTED = {
    "in pretraining": "digits-conv4-simclr-s1-01259397",
    "in its evaluations": "digits-conv4-simclr-s2-c5f323e5",
}
EXTENDED = {
    "simclr": f"{SIMCLR} --evaluations linear,knn,retrieval {REFINED} {SMALL} --seeds 0",
    "spectral": f"{SPECTRAL} {SMALL} --refine averaged",
    "graph_nnclr": f"{GRAPH_NNCLR} {SMALL} --refine concatenated,averaged,transductive,isolated"
    " --set transductive.epochs=3 --set transductive.clusters=10"
    " --set isolated.epochs=3 --set isolated.clusters=10",
}
"""Commands that ask for more than was measured; of graph_nnclr, refinements that read what is stored beside it."""

CELL = ["method", "dataset", "evaluated_on", "backbone", "protocol", "version", "track", "evaluation", "metric"]
KEYS = {"summary": CELL, "differences": [*CELL, "reference"]}

ARITHMETIC = """
import hashlib
import torch
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 64, 3), nn.Flatten())
network.append(nn.Linear(64 * 12 * 12, 32)).to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(network.parameters())
for _ in range(3):
    found = network(torch.rand(64, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    (found @ found.T).log_softmax(1).diagonal().mean().neg().backward()
    optimizer.step()
print(torch.__version__.partition("+")[0], hashlib.sha256(found.detach().numpy().tobytes()).hexdigest())
"""
"""Prints what tells whether a machine computes the same bits as another: the outcome of three steps of training."""


@pytest.fixture
def folder(tmp_path):
    """A copy of what the user has."""
    return shutil.copytree(FIXTURE, tmp_path / "work", ignore=shutil.ignore_patterns("expected", "README.md"))


@pytest.fixture(scope="module")
def same_arithmetic():
    """Whether this machine computes the bits that the fixture's did; else the same work ends a little differently."""
    done = subprocess.run(
        [sys.executable, "-c", ARITHMETIC], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return done.stdout == (FIXTURE / "expected" / "arithmetic.txt").read_text(encoding="utf-8")


def bench(folder, *commands, code=0):
    """Run commands one after the other; returns what they printed."""
    printed = ""
    for command in commands:
        done = forked.bench(*shlex.split(command), cwd=folder)
        assert done.returncode == code, done.stderr + done.stdout
        printed += done.stdout
    return dataclasses.replace(done, stdout=printed)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder, pattern):
    """The files of runs, by their paths."""
    return {path: path.read_bytes() for path in sorted((folder / "runs").glob(pattern)) if path.is_file()}


def assert_same_weights(now, before):
    """The same files of weights, save for the seals that they may have got."""
    assert now.keys() == before.keys()
    assert all(now[path].startswith(content[:-2]) for path, content in before.items())


def names(folder):
    return sorted(path.name for path in (folder / "runs").iterdir() if path.is_dir())


def assert_same_measurements(record, expected, *, exactly):
    """The same metrics under the same names, in the same order, and the same history of the loss."""
    near = (lambda value: value) if exactly else (lambda value: pytest.approx(value, rel=0.05, abs=5))
    assert len(record["metrics"]) == len(expected["metrics"])
    for now, before in zip(record["metrics"], expected["metrics"], strict=True):
        assert {**now, "value": 0} == {**before, "value": 0}
        assert now["value"] == near(before["value"])
    assert [line["loss"] for line in record["history"]] == near([line["loss"] for line in expected["history"]])
    assert record["run"]["fingerprint"] == expected["run"]["fingerprint"]


def test_they_are_reported_and_shown(folder):
    shown = bench(folder, "report", "status", *(f"show {name}" for name in names(folder))).stdout
    for table, keys in KEYS.items():
        before, now = (
            pd.read_csv(path / f"{table}.csv", keep_default_na=False, na_values=[""])
            for path in (FIXTURE / "expected", folder / "report")
        )
        if "refinement" in now:  # which the tables of 4775236 did not hold
            now = now[now["refinement"].isna()]
        assert {"method", "evaluation", "dataset", "backbone", "protocol"} <= {*now}
        shared = [key for key in keys if key in now]
        joined = before.merge(now, on=shared, suffixes=("_before", ""), validate="one_to_one")
        assert len(joined) == len(before) == len(now)
        for name in ["mean", "low", "high", "n"]:
            np.testing.assert_allclose(joined[name], joined[f"{name}_before"], rtol=0, atol=1e-9, err_msg=name)
    assert "93.40 (−0.80 ≈)" in (folder / "report" / "table.md").read_text(encoding="utf-8")  # linear, averaged, beside
    assert "6 runs: 4 done, 2 unfinished" in shown
    assert [f"{name}: done" in shown for name, _ in DONE.values()] == [True] * 4
    assert [f"{name}: unfinished" in shown for name in INTERRUPTED.values()] == [True] * 2
    assert "top1 94.20 on 500 test images of digits" in shown


def test_the_same_commands_again_have_nothing_to_do(folder):
    before, known = contents(folder, "*/**/*"), names(folder)
    bench(folder, *(command for _, command in DONE.values()))
    assert names(folder) == known
    assert contents(folder, "*/**/*") == before


def test_interrupted_runs_end_as_if_they_had_not_been(folder, same_arithmetic):
    done, known = contents(folder, "*-s0-*/**/*"), names(folder)
    trained = contents(folder, f"{INTERRUPTED['in its evaluations']}/backbone.pt")
    bench(folder, f"{SIMCLR} --evaluations linear,knn {REFINED} {SMALL} --seeds 0-2")
    assert names(folder) == known
    assert contents(folder, "*-s0-*/**/*") == done
    assert_same_weights(contents(folder, f"{INTERRUPTED['in its evaluations']}/backbone.pt"), trained)
    for name in INTERRUPTED.values():
        record = read(folder / "runs" / name / "record.json")
        whole = read(FIXTURE / "expected" / "uninterrupted" / f"{name}.json")
        assert_same_measurements(record, whole, exactly=same_arithmetic)
        assert record["health"].pop("lidar") > 1  # which earlier versions did not measure
        assert record["health"] == whole["health"] or not same_arithmetic
        assert record["cost"]["attempts"] == 2
        assert record["cost"]["views"] == whole["cost"]["views"] == 8038
    assert not contents(folder, "*/checkpoint.pt")
    summary = pd.read_csv(folder / "report" / "summary.csv", keep_default_na=False)
    rows = summary[(summary["method"] == "simclr[hidden=64,output=32]") & (summary["evaluation"] == "linear")]
    rows = rows[rows["protocol"] == "quick[precision=float32,views=8000]"]
    assert max(rows["n"]) == 3, "what the two versions measured is no longer one setup"


def test_done_runs_are_extended_without_training_again(folder, same_arithmetic):
    known, trained, measured = (
        names(folder),
        contents(folder, "*/backbone.pt"),
        contents(folder, "*-s0-*/evaluations/*"),
    )
    records = {run: read(folder / "runs" / DONE[run][0] / "record.json") for run in EXTENDED}
    bench(folder, *EXTENDED.values())
    assert names(folder) == known
    assert_same_weights(contents(folder, "*/backbone.pt"), trained)
    assert measured.items() <= contents(folder, "*-s0-*/evaluations/*").items()
    for run, before in records.items():
        record = read(folder / "runs" / DONE[run][0] / "record.json")
        assert record["history"] == before["history"]
        assert record["cost"]["seconds"]["pretrain"] == before["cost"]["seconds"]["pretrain"]
        assert record["metrics"][: len(before["metrics"])] == before["metrics"]
        expected = read(FIXTURE / "expected" / "extended" / f"{DONE[run][0]}.json")
        assert_same_measurements(record, expected, exactly=same_arithmetic)


def test_a_plugin_with_hooks_of_old_names_is_refused_in_one_line(folder):
    """Else they would silently not be called."""
    refused = bench(folder, f"run --methods plugins/turned.py --seeds 0 {SMALL} --dry-run", code=2)
    assert len(refused.stderr.splitlines()) == 1
    renamed = {"keepsakes": "extra_state", "passes": "views_per_image", "sources": "source_indices"}
    assert any(old in refused.stderr and new in refused.stderr for old, new in renamed.items())
    assert len(names(folder)) == 6
