"""Ranks that torchrun or srun starts: how they find each other, share runs, and tell why they failed."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from protocols.pretrain import launched
from protocols.pretrain.launched import (
    LaunchedRank,
    first_host,
    launched_by_srun,
    launched_by_torchrun,
    launched_rank,
    lead,
    report_failure,
    run_store,
    serve_orders,
    share_run,
)
from results import store
from results.errors import BenchError, RequestError

TORCHRUN = {
    "RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8",
    "MASTER_ADDR": "gpu1", "MASTER_PORT": "29500",
}  # fmt: skip
SRUN = {
    "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "1234567", "SLURM_STEP_ID": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu[07-09,12],login1", "gpu07"),
        ("login1,gpu[07-09]", "login1"),
        ("rack[2-3]n[5,7]", "rack2n5"),
        ("a-1-[3,4]-ib", "a-1-3-ib"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_host(nodes) == first


def test_a_rank_of_torchrun():
    assert launched_by_torchrun(TORCHRUN) == LaunchedRank(9, 1, 16, 8, "gpu1", 29500, "bench-0")
    restarted = {**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert launched_by_torchrun(restarted) == LaunchedRank(9, 1, 16, 8, "gpu1", 29500, "bench-2", hosted=True)
    assert launched_by_torchrun(TORCHRUN | {"WORLD_SIZE": "1"}) is None
    assert launched_by_torchrun({"RANK": "0", "WORLD_SIZE": "2"}) is None


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²", "9" * 5000])
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"])
def test_variables_that_are_no_numbers_are_named(name, text):
    with pytest.raises(RequestError, match=f"the variable {name} is .*, no whole number; try: unset {name}$"):
        launched_by_srun(SRUN | {name: text}) if name in SRUN else launched_by_torchrun(TORCHRUN | {name: text})


def test_a_task_of_srun():
    assert launched_by_srun(SRUN) == LaunchedRank(9, 1, 16, 8, "gpu07", 24567)
    chosen = launched_by_srun(SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000"})
    assert (chosen.address, chosen.port) == ("10.0.0.1", 4000)
    assert launched_by_srun({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "16"}) is None  # a batch script


def test_tasks_of_srun_are_ranks_only_if_they_are_as_many(monkeypatch):
    for name in (*TORCHRUN, "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert launched_rank(16).rank == 9
    assert launched_rank(1) is None
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert launched_rank(1).address == "gpu1"
    with pytest.raises(RequestError, match="--ranks 8, and torchrun has started 16"):
        launched_rank(8)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def two():
    """Rank 0 and rank 1 on this machine."""
    first = LaunchedRank(0, 0, 2, 2, "127.0.0.1", free_port())
    return first, dataclasses.replace(first, rank=1, local_rank=1)


def behave(this, order):
    """Main function of a follower's process: joins, and does what the name of the run's folder says."""
    group = run_store(this.connect(), order.number)
    if order.folder == "fails early":
        report_failure(group, f"rank {this.rank}: no luck")
        sys.exit(1)
    group.add("started", 1)
    if order.folder == "fails late":
        report_failure(group, f"rank {this.rank}: no luck later")
        sys.exit(1)
    if order.folder == "dies":
        os.kill(os.getpid(), 9)
    if order.folder == "hangs":
        time.sleep(1000)


def order_of(folder):
    return {"config": {"a": 1}, "folder": folder, "data": "", "device": "cpu", "reference": False}


@pytest.fixture
def no_signals(monkeypatch):
    """A follower in a thread cannot set handlers; nobody has to wait for what was never reported."""
    monkeypatch.setattr(launched, "FAILURE_TIMEOUT_S", 3)
    monkeypatch.setattr(launched.signal, "signal", lambda *_: None)


def test_followers_share_runs_until_the_leader_ends(two, no_signals):
    first, second = two
    follower = threading.Thread(target=serve_orders, args=(second, behave))
    with lead(first):
        follower.start()
        with share_run(first, **order_of("works")):
            pass
        with pytest.raises(BenchError, match=r"rank 1: no luck$"), share_run(first, **order_of("fails early")):
            pass
        for folder, message in (("fails late", "rank 1: no luck later"), ("dies", "rank 1 was killed by SIGKILL")):
            with pytest.raises(BenchError, match=message), share_run(first, **order_of(folder)):
                raise RuntimeError("Connection closed by peer")
        with pytest.raises(ValueError, match="mine"), share_run(first, **order_of("hangs")):
            raise ValueError("mine")
        with pytest.raises(RuntimeError, match="shapes"), share_run(first, **order_of("works")):
            raise RuntimeError("shapes do not fit")
        start = time.monotonic()
        with share_run(first, **order_of("works")):  # the hanging process has been ended
            pass
        assert time.monotonic() - start < 60
        with pytest.raises(KeyboardInterrupt), share_run(first, **order_of("hangs")):
            raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
        with pytest.raises(KeyboardInterrupt), share_run(first, **order_of("works")):
            raise AssertionError("a rank is lost")
    follower.join(20)
    assert not follower.is_alive()


def test_a_follower_says_that_its_leader_has_gone(two, no_signals, monkeypatch):
    first, second = two
    monkeypatch.setattr(launched, "CONNECT_TIMEOUT", launched.timedelta(seconds=1))
    with pytest.raises(BenchError, match=f"rank 1 cannot reach rank 0 at 127.0.0.1:{first.port}"):
        serve_orders(second, behave)


def test_a_port_that_is_taken_is_told(two):
    first, _ = two
    with lead(first), pytest.raises(BenchError, match="rank 0 cannot listen at"):
        first.connect(listen=True)


def test_torchrun_starts_a_grid_on_two_ranks(tmp_path):
    words = ["run", "--methods", "simclr,random", "--datasets", "digits", "--seeds", "0", "--views", "1000"]
    words += ["--set", "pretrain.precision=float32", "--evaluations", "knn", "--reference"]
    shared = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()), "-m", "bench"]
    done = subprocess.run(
        [sys.executable, *shared, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    runs = {run.record["run"]["method"]["name"]: run.record for run in store.read_runs(tmp_path / "runs")}
    assert runs["simclr"]["cost"]["device"].startswith("2 × ")
    assert (tmp_path / "report").is_dir()
