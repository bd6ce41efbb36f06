"""Runs on a real SLURM: sent, interrupted in every way there is, and finished with the numbers of undisturbed ones."""

import contextlib
import os
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
import torch

from results import store
from results.errors import BenchError, RequestError
from results.index import DONE_INDEX, INDEX
from slurm.queue import SlurmCommandError, run_command
from slurm.status import read_status
from tests.tools.cluster import bench, grid, until

pytestmark = pytest.mark.slurm

SLOW = """
import multiprocessing, os, time
from bench import Method, register_method

def sleep():
    time.sleep(1000)

@register_method("slow")
class Slow(Method):
    '''Takes its time at every step, and has helpers, as a data loader would.'''

    def forward(self, batch):
        if "STEP_SECONDS" in os.environ:
            if not hasattr(self, "helpers"):
                fork = multiprocessing.get_context("fork")
                self.helpers = [fork.Process(target=sleep, daemon=True) for _ in range(2)]
                for helper in self.helpers:
                    helper.start()
            assert all(helper.is_alive() for helper in self.helpers), "a helper died"
            time.sleep(float(os.environ["STEP_SECONDS"]))
        return {"loss": self.backbone(batch.views).pow(2).mean()}
"""

HUNGRY = """
import numpy, time
from bench import Method, register_method

@register_method("hungry")
class Hungry(Method):
    '''Eats memory until it is stopped.'''

    def forward(self, batch):
        eaten = []
        while True:
            eaten.append(numpy.ones(2**23))
            time.sleep(0.2)
"""


def submit(*words, cwd):
    return bench("submit", "--cpus", "1", "--mem", "2G", *words, cwd=cwd)


def states(runs):
    return {state.run: state for state in read_status(runs).runs}


def settled(runs):
    """The states of all runs, once nothing is queued or running."""
    now = states(runs)
    return not any(state.state in ("queued", "requeued", "running") for state in now.values()) and now


def worker_of(job):
    """The first process of a job's work: the one that listens to signals."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            own = f"SLURM_JOB_ID={job}".encode() in (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if own and b"submitit.core._submit" in words and b"python" in words[0]:
            return int(path.name)
    raise AssertionError(f"no process of job {job}")


def metrics(runs):
    stored = {one.folder.name: one.record for one in store.read_runs(runs)}
    return {name: record and record["metrics"] for name, record in stored.items()}


def leftovers(runs):
    """Files in run folders that a finished run should not have."""
    known = {store.CONFIG, store.ATTEMPTS, store.BACKBONE, store.RECORD}
    return [path for path in runs.glob("*-*/*") if path.is_file() and path.name not in known] + [
        path for path in runs.rglob(".*") if path.is_file() and path.name not in (INDEX, DONE_INDEX)
    ]


def test_a_grid_gets_what_bench_run_gets(cluster, tmp_path):
    words = grid("simclr", "random", seeds="0,1")
    said = submit(*words, "--time", "20m", "--runs-per-job", "2", cwd=tmp_path)
    assert "submitted 4 runs in 2 jobs of 1 arrays" in said
    runs, seen = tmp_path / "runs", set()
    assert "4 runs queued or running already" in submit(*words, "--time", "20m", cwd=tmp_path)

    def over():
        now = states(runs)
        seen.update(state.state for state in now.values())
        assert len(now) == 4
        return all(state.state == "done" for state in now.values())

    until(over)
    assert seen <= {"queued", "running", "done"}
    assert not leftovers(runs)
    until(lambda: not list(runs.glob(".submissions/*/log/*.pkl")))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bench("run", *words, "--jobs", "2", cwd=elsewhere)
    assert metrics(runs) == metrics(elsewhere / "runs")
    assert "bench submit --cpus 1" in store.read_runs(runs)[0].record["provenance"]["command"]


def test_trials_get_what_the_local_pool_gets(cluster, tmp_path):
    """Trials need no coordinator: jobs of an array compute them in any order, and ``bench tune`` then chooses."""
    words = [*grid("simclr", "rotnet"), "--evaluations", "knn"]
    said = submit(*words, "--trials", "4", "--time", "20m", "--runs-per-job", "2", cwd=tmp_path)
    assert "submitted 8 runs in 4 jobs of 1 arrays" in said
    now = until(lambda: settled(tmp_path / "runs"))
    assert {state.state for state in now.values()} == {"done"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    chosen = bench("tune", *words, "--trials", "4", cwd=tmp_path)
    assert bench("tune", *words, "--trials", "4", "--jobs", "2", cwd=elsewhere) == chosen
    assert metrics(tmp_path / "runs") == metrics(elsewhere / "runs")
    (file,) = tmp_path.glob("tuned-*.toml")
    assert (elsewhere / file.name).read_text() == file.read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with methods that sleep and eat."""
    folder = tmp_path_factory.mktemp("home")
    for name, source in (("slow", SLOW), ("hungry", HUNGRY)):
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return folder


def send(home, seed, *words, method="./slow.py", steps=40):
    """Submit a run that takes a second a step; returns its job and its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEP_SECONDS", "1")
        said = submit(*grid(method, seeds=str(seed), views=steps * 32 * 2), *words, cwd=home)
    job = said.split(": ")[1].split()[0]
    return job, next(state.run for state in states(home / "runs").values() if state.job == job)


def undisturbed(home, names, steps=40):
    """What is measured of runs that nothing interrupts, on one core as in the jobs."""
    elsewhere = home / f"elsewhere{steps}"
    elsewhere.mkdir()
    seeds = ",".join(name.split("-")[3][1:] for name in names)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bench("run", *grid("../slow.py", seeds=seeds, views=steps * 32 * 2), "--jobs", "1", cwd=elsewhere)
    finally:
        torch.set_num_threads(threads)
    return metrics(elsewhere / "runs")


@pytest.fixture(scope="module")
def limited(cluster, home):
    """A run that takes longer than its job may; it goes on beside the other tests."""
    return send(home, 9, "--time", "3m", "--partition", "high", steps=170)


@pytest.mark.slow
def test_every_interruption_ends_as_designed(cluster, limited, home):
    runs = home / "runs"
    preempted = send(home, 0, "--time", "1h", "--partition", "low")
    warned = send(home, 1, "--time", "1h", "--partition", "brief")
    killed = send(home, 2, "--time", "1h", "--partition", "high", steps=400)
    cancelled = send(home, 3, "--time", "1h", "--partition", "high", steps=400)
    until(lambda: all((runs / name / store.CHECKPOINT).exists() for _, name in (preempted, warned, killed, cancelled)))
    # Five of eight cores are taken, and two jobs may be preempted.
    urgent = ["sbatch", "-p", "high", "-n", "5", "--mem", "100M", "-o", "/dev/null", "--wrap", "sleep 3"]
    subprocess.run(urgent, check=True, capture_output=True)
    seen = {preempted[1]: set(), warned[1]: set()}

    def both_requeued():
        now = states(runs)
        for name, names in seen.items():
            names.add(now[name].state)
        return all("requeued" in names for names in seen.values())

    until(both_requeued)
    now = states(runs)
    assert {now[name].state for _, name in (killed, cancelled)} == {"running"}, now
    assert now[killed[1]].heartbeat["note"].startswith("epoch 1/")

    hungry = send(home, 5, "--time", "1h", "--partition", "high", "--mem", "900M", method="./hungry.py")
    os.kill(worker_of(killed[0]), signal.SIGKILL)
    began = time.monotonic()
    bench("cancel", cancelled[1], cwd=home)
    until(lambda: states(runs)[cancelled[1]].kind == "cancelled")
    assert time.monotonic() - began < 60
    until(lambda: {states(runs)[name].state for _, name in (killed, hungry)} == {"failed"})
    now = states(runs)
    assert (now[killed[1]].kind, now[killed[1]].reason) == ("killed", "killed by SIGKILL")
    assert now[hungry[1]].kind == "memory", now[hungry[1]]
    assert "asked 0.88 GB, peaked" in now[hungry[1]].reason
    assert "--mem" in now[hungry[1]].remedy

    cluster.stop("slurmdbd")
    try:
        without_accounting = read_status(runs)
    finally:
        cluster.start_accounting()
    assert "sacct" in without_accounting.query_errors
    names = {state.run: state.state for state in without_accounting.runs}
    assert [names[name] for _, name in (killed, cancelled, hungry)] == ["failed"] * 3
    assert all(names[name] in ("requeued", "running", "done") for _, name in (preempted, warned))

    until(lambda: all(states(runs)[name].state == "done" for name in seen))
    found = metrics(runs)
    assert {name: found[name] for name in seen} == undisturbed(home, list(seen))
    log = next(runs.glob(f".submissions/*/log/{warned[0]}_0_log.out")).read_text()
    assert log.count("Calling checkpoint method") == log.count("Requeued job") == 1, log


@pytest.mark.slow
def test_a_time_limit_is_a_pause(cluster, limited, home):
    runs, (job, name) = home / "runs", limited
    until(lambda: states(runs)[name].state == "done")
    log = next(runs.glob(f".submissions/*/log/{job}_0_log.out")).read_text()
    assert log.count("Calling checkpoint method") == log.count("Requeued job") >= 1, log
    assert "stopping: SIGUSR2" in log
    found = metrics(runs)
    assert {name: found[name]} == undisturbed(home, [name], steps=170)


@pytest.mark.slow
def test_what_failed_is_submitted_again_and_carries_on(cluster, home):
    runs = home / "runs"
    ended = {state.kind: state.run for state in states(runs).values() if state.state == "failed"}
    if set(ended) != {"killed", "cancelled", "memory"}:
        pytest.skip("needs what the tests before leave")
    shutil.rmtree(runs / ended.pop("memory"))
    for which, name in (("failed", ended["killed"]), ("all", ended["cancelled"])):
        said = submit("--retry", which, "--time", "1h", cwd=home)
        assert "submitted 1 runs" in said, said
        until(lambda name=name: states(runs)[name].state == "done")
        assert read_attempts(runs / name) == 2
    found = metrics(runs)
    assert {name: found[name] for name in ended.values()} == undisturbed(home, list(ended.values()), steps=400)


def read_attempts(folder):
    return store.read_run(folder).record["cost"]["attempts"]


@pytest.mark.slow
def test_a_hundred_short_runs_lose_nothing_and_leave_nothing(cluster, tmp_path):
    words = grid("random", seeds="0-99")
    said = submit(*words, "--time", "20m", "--runs-per-job", "6", cwd=tmp_path)
    assert "submitted 100 runs in 17 jobs of 2 arrays" in said  # an array here has 16 tasks at most
    runs = tmp_path / "runs"
    until(lambda: all(state.state == "done" for state in states(runs).values()))
    assert len(metrics(runs)) == 100
    assert not leftovers(runs)
    assert sorted(path.name for path in runs.glob(".submissions/*/*")) == ["code", "log", "submission.json"]
    until(lambda: {path.suffix for path in runs.glob(".submissions/*/log/*")} == {".out", ".sh"})


@pytest.mark.slow
def test_a_node_that_fails_is_no_loss(cluster, home, tmp_path):
    (tmp_path / "slow.py").symlink_to(home / "slow.py")
    send(tmp_path, 0, "--time", "1h", steps=30)
    runs = tmp_path / "runs"
    until(lambda: list(runs.glob("*/checkpoint.pt")))
    node = run_command("sinfo", "-h", "-o", "%N").strip()
    run_command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    until(lambda: [state.state for state in states(runs).values()] == ["requeued"])
    with contextlib.suppress(SlurmCommandError):  # it may have come back by itself
        run_command("scontrol", "update", f"nodename={node}", "state=resume")
    until(lambda: [state.state for state in states(runs).values()] == ["done"])
    assert read_attempts(next(runs.glob("digits-*"))) == 2


REFUSED = {
    "no such partition": (["--partition", "nowhere"], "invalid partition", "there are: brief, high, low"),
    "too much memory": (["--mem", "900T"], "Requested node configuration is not available", "ask for less --mem"),
    "nonsense": (["--sbatch", "begin=whenever"], "SLURM refused the job", ""),
}


@pytest.mark.parametrize(("words", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_slurm_refuses_is_said_in_a_line_and_leaves_nothing(cluster, tmp_path, words, message, hint):
    with pytest.raises(RequestError) as error:
        submit(*grid("random", seeds="0,1"), "--time", "20m", *words, cwd=tmp_path)
    assert message.lower() in str(error.value).lower()
    assert hint in str(error.value)
    assert "\n" not in str(error.value)
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.name != ".submissions"]


def test_what_slurm_takes_in_part_is_kept_in_part(cluster, tmp_path):
    profile = tmp_path / "profile.toml"
    profile.write_text('time = "20m"\nmem = "1500M"\n[methods.simclr]\npartition = "nowhere"\n')
    words = [*grid("random", "simclr"), "--profile", str(profile)]
    with pytest.raises(BenchError, match="submitted 1 of 2 jobs; then SLURM refused the job"):
        bench("submit", *words, cwd=tmp_path)
    runs = tmp_path / "runs"
    assert [path.name.split("-")[2] for path in runs.glob("digits-*")] == ["random"]
    until(lambda: [state.state for state in states(runs).values()] == ["done"])


def test_nothing_is_sent_while_slurm_does_not_answer(cluster, tmp_path):
    cluster.stop("slurmctld")
    try:
        with pytest.raises(RequestError, match=r"SLURM does not respond: .*[Uu]nable to contact slurm controller"):
            submit(*grid("random"), "--time", "20m", cwd=tmp_path)
    finally:
        cluster.up()
    assert not list((tmp_path / "runs").rglob("*"))


def test_job_steps_are_found(cluster, tmp_path):
    """The last test: its job ignores SIGTERM and is still running when the cluster is stopped, which must end it."""
    script = "trap '' TERM; while true; do sleep 1; done"
    words = ["sbatch", "--parsable", "-p", "high", "--mem", "100M", "-o", "/dev/null", "--wrap", script]
    job = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()
    until(lambda: run_command("squeue", "-h", "-j", job, "-o", "%T").strip() == "RUNNING")

    def found():
        variable = f"SLURM_JOB_ID={job}".encode()
        environments = (Path(f"/proc/{pid}/environ") for pid in cluster.job_step_processes())
        return any(variable in path.read_bytes().split(b"\0") for path in environments if path.exists())

    until(found, seconds=30)
