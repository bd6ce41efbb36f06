"""Runs that two nodes of a real SLURM share: with the numbers of one process, and nothing lost when a node fails."""

import importlib.util
from pathlib import Path

import pytest

from results import store
from slurm.queue import run_command
from slurm.status import read_status
from tests.tools.cluster import bench, grid, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

PLUGIN = """
import os, time

import torch

from bench import Method, register_method
from torch import distributed


class Plain(Method):
    def forward(self, batch):
        time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
        return {"loss": self.backbone(batch.views).pow(2).mean()}


@register_method("plain")
class Slow(Plain):
    '''Small representations; takes its time.'''


@register_method("broken")
class Broken(Plain):
    '''Fails on the second node.'''

    def forward(self, batch):
        if distributed.is_initialized() and distributed.get_rank() == 1:
            raise ValueError(f"no luck on {os.uname().nodename}")
        return super().forward(batch)
"""


def load_two_nodes():
    spec = importlib.util.spec_from_file_location("two_nodes", Path(__file__).with_name("two_nodes.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def nodes():
    """A SLURM of two nodes; nothing of it is left afterwards."""
    two_nodes = load_two_nodes()
    before = two_nodes.alive()
    try:
        two_nodes.up()
    except two_nodes.Unavailable as error:
        two_nodes.down()
        pytest.skip(f"no SLURM of two nodes here: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", two_nodes.ENVIRONMENT["SLURM_CONF"])
        yield two_nodes
    if not before:
        two_nodes.down()
        assert not two_nodes.processes()
        assert not Path("/run/netns/bench-node1").exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the methods above."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "mine.py").write_text(PLUGIN)
    return folder


def plain_grid(*methods, **options):
    return [*grid(*methods, **options), "--plugins", "mine.py", "--evaluations", "knn", "--reference"]


def submit(*words, cwd):
    return bench("submit", *words, "--nodes", "2", "--cpus", "1", "--mem", "2G", "--time", "20m", cwd=cwd)


def states(runs):
    return {state.run.split("-")[2]: state for state in read_status(runs).runs}


def losses(folder):
    return [epoch["loss"] for epoch in store.read_run(folder).record["history"]]


def job_log(runs):
    return "".join(path.read_text() for path in runs.glob(".submissions/*/log/*.out"))


def test_two_nodes_get_what_one_process_gets_and_tell_what_failed(nodes, home, tmp_path):
    """One job, three runs: the second fails on the second node, the third goes on."""
    (tmp_path / "mine.py").symlink_to(home / "mine.py")
    said = submit(*plain_grid("simclr", "broken", "plain"), "--runs-per-job", "3", cwd=tmp_path)
    assert "submitted 3 runs in 1 jobs" in said
    runs = tmp_path / "runs"
    until(lambda: {state.state for state in states(runs).values()} <= {"done", "failed"})
    now = states(runs)
    assert {name: state.state for name, state in now.items()} == {
        "simclr": "done", "broken": "failed", "plain": "done"
    }, job_log(runs)  # fmt: skip
    assert "rank 1: ValueError: no luck on node2" in now["broken"].reason
    assert store.read_run(runs / now["simclr"].run).record["cost"]["device"].startswith("2 × ")
    assert "rank 1 on node2" in job_log(runs)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").symlink_to(home / "mine.py")
    bench("run", *plain_grid("simclr", "plain"), "--jobs", "1", cwd=elsewhere)
    for name in ("simclr", "plain"):
        alone = losses(elsewhere / "runs" / now[name].run)
        assert losses(runs / now[name].run) == pytest.approx(alone, rel=1e-2)
    until(lambda: not run_command("squeue", "-h").strip(), seconds=60)
    assert not list(runs.glob(".submissions/*/log/*_1_*.pkl"))


@pytest.mark.parametrize("event", ["power cut", "warning"])
def test_an_interrupted_job_of_two_nodes_carries_on(nodes, home, tmp_path, event, monkeypatch):
    (tmp_path / "mine.py").symlink_to(home / "mine.py")
    monkeypatch.setenv("STEP_SECONDS", "0.5")
    said = submit(*plain_grid("plain", views=60 * 64), cwd=tmp_path)
    job, runs = said.split(": ")[1].split()[0], tmp_path / "runs"
    until(lambda: list(runs.glob("*/checkpoint.pt")))
    if event == "power cut":
        nodes.kill("node2")
        until(lambda: "JobState=RUNNING" not in run_command("scontrol", "-o", "show", "job", job))
        nodes.start("node2")
    else:
        run_command("scancel", "--signal=USR2", job)
    until(lambda: states(runs)["plain"].state == "done")
    record = store.read_run(runs / states(runs)["plain"].run).record
    assert record["cost"]["attempts"] == 2
    assert "restart 1" in job_log(runs)
    monkeypatch.delenv("STEP_SECONDS")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").symlink_to(home / "mine.py")
    bench("run", *plain_grid("plain", views=60 * 64), "--jobs", "1", cwd=elsewhere)
    alone = losses(elsewhere / "runs" / states(runs)["plain"].run)
    assert losses(runs / states(runs)["plain"].run) == pytest.approx(alone, rel=1e-2)
