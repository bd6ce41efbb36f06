"""Launchers on one machine: many runs at a time, none of which touches another."""

import textwrap

import pytest
import torch

from protocols.spec.execution import ExecutionContext
from protocols.system.progress import ProgressListener
from results import store
from results.errors import RequestError
from slurm.launch import Monitor, inline, launch
from slurm.pool import pool

DEADLY = """
import os, signal
from methods import Method, register

@register("deadly")
class Deadly(Method):
    '''Kills its process.'''

    def forward(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Listener(Monitor, ProgressListener):
    """Writes down what it hears; asks to stop once it has heard of progress, if told to."""

    def __init__(self, *, stop: bool = False) -> None:
        self.heard, self.stop = [], stop

    def begins(self, run):
        self.heard.append(("begins", run.method.name, run.seed))
        return self

    def ends(self, outcome):
        self.heard.append(("ends", outcome.run.method.name, outcome.run.seed))

    def stage(self, name, total, done=0):
        self.heard.append((name, total))

    def progress(self, done, note=""):
        self.heard.append(("progress", done))

    def stopping(self):
        return self.stop and any(kind == "progress" for kind, *_ in self.heard)


def metrics(outcomes):
    return {outcome.run.folder(): outcome.record.metrics for outcome in outcomes}


def test_a_pool_gets_what_one_process_gets(run_of, tmp_path):
    runs = [run_of(method, seed) for seed in (0, 1) for method in ("simclr", "random")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = metrics(inline(runs, ExecutionContext(tmp_path / "alone", tmp_path, "cpu"), Listener()))
    finally:
        torch.set_num_threads(threads)
    listener = Listener()
    context = ExecutionContext(tmp_path / "pool", tmp_path, "cpu")
    assert metrics(pool(runs, [context] * 2, listener, threads=1)) == alone
    assert sum(kind == "begins" for kind, *_ in listener.heard) == 4
    assert ("pretrain", 2304) in listener.heard or any(kind == "pretrain" for kind, *_ in listener.heard)


def test_a_process_that_dies_takes_only_its_own_run_with_it(run_of, tmp_path):
    plugin = tmp_path / "deadly.py"
    plugin.write_text(textwrap.dedent(DEADLY))
    add_file(plugin)
    runs = [run_of("deadly", plugins=[str(plugin)]), *(run_of("random", seed) for seed in range(3))]
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    outcomes = {o.run.method.name: o for o in pool(runs, [context] * 2, Listener(), threads=1)}
    assert outcomes["deadly"].reason == "its process was killed by SIGKILL"
    statuses = {run.folder(): store.read_run(context.runs / run.folder()) for run in runs}
    assert [stored.status for stored in statuses.values()] == ["failed", "done", "done", "done"]
    assert statuses[runs[0].folder()].failure["reason"] == "its process was killed by SIGKILL"


def test_stopping_a_pool_keeps_every_state(run_of, tmp_path):
    runs = [run_of("simclr", seed, views=500_000) for seed in range(3)]
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    with pytest.raises(KeyboardInterrupt):
        list(pool(runs, [context] * 2, Listener(stop=True), threads=1))
    kept = [(context.runs / run.folder() / store.CHECKPOINT).exists() for run in runs]
    assert kept[:2] == [True, True]
    assert not (context.runs / runs[2].folder()).exists()
    assert not list(context.runs.glob("*/claim.json"))


def test_one_run_needs_no_pool(run_of, tmp_path):
    outcomes = list(launch([run_of("random")], ExecutionContext(tmp_path / "runs", tmp_path, "cpu"), Listener()))
    assert outcomes[0].record.cost.device.endswith(f"{torch.get_num_threads()} threads")


def test_places_follow_what_is_asked_for_and_what_there_is(tmp_path, monkeypatch):
    context = ExecutionContext(tmp_path, tmp_path, "cpu")
    monkeypatch.setattr("slurm.launch.room", lambda: 4)
    assert len(places_for(context, 10, every=False)) == 4
    assert len(places_for(context, 3, every=False)) == 3
    assert len(places_for(context, 10, every=True)) == 10


HELPED = """
import multiprocessing, os, signal, time
from methods import Method, register

@register("helped")
class Helped(Method):
    '''Has a helper, as a data loader would; everyone is sent the signal of a SLURM job.'''

    def forward(self, batch):
        helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,), daemon=True)
        helper.start()
        for number in (signal.SIGUSR2, signal.SIGTERM):
            os.kill(os.getpid(), number)
        os.kill(helper.pid, signal.SIGUSR2)
        assert helper.is_alive()
        while helper.is_alive():
            helper.terminate()
            helper.join(0.5)
        assert helper.exitcode == -signal.SIGTERM
        return {"loss": self.backbone(batch.views).pow(2).mean()}
"""

STUBBORN = """
import time
from methods import Method, register

@register("stubborn")
class Stubborn(Method):
    '''Never comes to the end of a step.'''

    def forward(self, batch):
        time.sleep(1000)
"""


def plugin_run(run_of, tmp_path, name, source):
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(textwrap.dedent(source))
    add_file(plugin)
    return run_of(name, plugins=[str(plugin)], views=600)


def test_signals_are_for_the_pool_alone(run_of, tmp_path):
    run = plugin_run(run_of, tmp_path, "helped", HELPED)
    (outcome,) = pool([run], [ExecutionContext(tmp_path / "runs", tmp_path, "cpu")], Listener(), threads=1)
    assert outcome.record, outcome.reason


class Hurried(Listener):
    def stopping(self):
        return any(kind == "pretrain" for kind, *_ in self.heard)


def test_a_run_that_does_not_stop_in_time_is_killed(run_of, tmp_path):
    run = plugin_run(run_of, tmp_path, "stubborn", STUBBORN)
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    with pytest.raises(KeyboardInterrupt):
        list(pool([run], [context], Hurried(), threads=1, patience=0.5))
    stored = store.read_run(context.runs / run.folder())
    assert stored.status == "unfinished"
    assert store.is_abandoned(stored.folder / store.CLAIM)


def test_a_plugin_that_changed_is_not_run(run_of, tmp_path):
    run = plugin_run(run_of, tmp_path, "stubborn", STUBBORN)
    (tmp_path / "stubborn.py").write_text(textwrap.dedent(STUBBORN) + "# changed")
    (outcome,) = pool([run], [ExecutionContext(tmp_path / "runs", tmp_path, "cpu")], Listener(), threads=1)
    assert outcome.reason.startswith("stubborn was changed after the run was planned")
    assert store.read_run(tmp_path / "runs" / run.folder()).status == "failed"


def test_gpus_are_used_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.launch.gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    context = ExecutionContext(tmp_path, tmp_path)

    def devices(jobs, **how):
        return [one.device for one in places_for(context, jobs, **how)]

    assert devices(10, every=False) == ["cuda:0", "cuda:1"]
    assert devices(10, every=False, per_gpu=2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert devices(3, every=True) == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("device", "ranks", "first"),
    [("auto", 2, ["cuda:0", "cuda:2"]), ("auto", 4, ["cuda:0"]), ("cuda:3", 2, ["cuda:3"]), ("cuda:1", 1, ["cuda:1"])],
)
def test_ranks_of_a_run_have_neighbouring_gpus(tmp_path, monkeypatch, device, ranks, first):
    monkeypatch.setattr("slurm.launch.gpus", lambda: [f"cuda:{n}" for n in range(5)])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    contexts = places_for(ExecutionContext(tmp_path, tmp_path, device, ranks=ranks), 10, every=False)
    assert [one.device for one in contexts] == first
    assert all(one.ranks == ranks for one in contexts)


def test_more_ranks_than_gpus_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.launch.gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    with pytest.raises(RequestError, match="--ranks 3 wants as many GPUs; from auto on there are 2"):
        places_for(ExecutionContext(tmp_path, tmp_path, ranks=3), 10, every=False)
