"""A real SLURM for tests that need one."""

import importlib.util
import os
import stat
from pathlib import Path

import pytest

from protocols.spec.execution import ExecutionContext
from protocols.spec.protocol import load
from protocols.spec.resolve import parse_changes, resolve
from results import store
from slurm.submission import SubmittedArray, new_submission


@pytest.fixture(scope="session")
def run_of():
    """Makes a small run of a method."""

    def make(method, seed=0, views=2000, plugins=()):
        settings = [f"pretrain.views={views}", "pretrain.precision=float32"]
        return resolve(
            load("quick"),
            method=method,
            dataset="digits",
            backbone="conv4",
            seed=seed,
            changes=parse_changes(settings),
            data=Path("data"),
            plugins=plugins,
        )

    return make


@pytest.fixture
def fake_command(tmp_path_factory, monkeypatch):
    """Puts a command on the path that prints a text, to stderr if its exit code is not 0."""
    folder = tmp_path_factory.mktemp("commands")

    def put(name, text, code=0):
        (folder / f"{name}.txt").write_text(text)
        (folder / name).write_text(f"#!/bin/sh\ncat '{folder}/{name}.txt' {'>&2' if code else ''}\nexit {code}\n")
        (folder / name).chmod(stat.S_IRWXU)

    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return put


@pytest.fixture
def submitted_runs(run_of, tmp_path):
    """Four runs in one submission: two in the first job of an array, one each in the next two; returns the runs."""
    runs = [run_of("random", seed) for seed in range(4)]
    for run in runs:
        (tmp_path / run.folder()).mkdir()
        store.write_json(tmp_path / run.folder() / store.CONFIG, run.config())
    first, second, third, fourth = (run.folder() for run in runs)
    submission = new_submission(
        ExecutionContext(tmp_path, tmp_path), submission_id="one", command="bench submit", code="", root="/",
        tasks=[[first, second], [third], [fourth]], arrays=[SubmittedArray(0, 3, minutes=60, job="12")],
    )  # fmt: skip
    submission.folder.mkdir(parents=True)
    submission.save()
    return runs


def load_one_node():
    spec = importlib.util.spec_from_file_location("one_node", Path(__file__).with_name("one_node.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cluster():
    """A SLURM on this machine, with accounting; stopped afterwards unless it was running before."""
    one_node = load_one_node()
    ran_before = one_node.alive("slurmctld")
    try:
        one_node.up()
    except one_node.Unavailable as error:
        pytest.skip(f"no SLURM here: {error}")
    before = os.environ.get("SLURM_CONF")
    os.environ.update(one_node.ENVIRONMENT)
    yield one_node
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before
    if not ran_before:
        one_node.down()
        assert not one_node.job_step_processes()
