"""Worker processes: many runs at a time, none of which affects another."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from protocols.spec.execution import ExecutionContext
from protocols.spec.plugins import add_file
from protocols.spec.run import Run
from protocols.system.progress import ProgressListener
from results import store
from slurm.launch import run_inline
from slurm.monitor import Monitor
from slurm.pool import Worker, run_pool

DEADLY = """
import os, signal
from bench import Method, register_method

@register_method("deadly")
class Deadly(Method):
    '''Kills its process.'''

    def forward(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)
"""


FAULTY = """
import os
import torch
from bench import Method, register_method

@register_method("counted")
class Counted(Method):
    'Writes down the process that it is executed by.'

    def forward(self, batch):
        return {"loss": self.backbone(batch.views).square().mean(), "pid": torch.tensor(float(os.getpid()))}

@register_method("large")
class Large(Method):
    'Needs more memory than there is.'

    def forward(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

@register_method("faulty")
class Faulty(Method):
    'Makes the GPU fail, and with it whatever follows in the same process.'

    def forward(self, batch):
        raise RuntimeError("CUDA error: device-side assert triggered\\nCompile with TORCH_USE_CUDA_DSA")
"""


class Listener(Monitor, ProgressListener):
    """Records the callbacks; asks to stop after the first progress, if ``stop`` is set."""

    def __init__(self, *, stop: bool = False) -> None:
        self.events, self.stop = [], stop

    def on_run_start(self, run):
        self.events.append(("start", run.method.name, run.seed))
        return self

    def on_run_end(self, outcome):
        self.events.append(("end", outcome.run.method.name, outcome.run.seed))

    def stage(self, name, total, done=0):
        self.events.append((name, total))

    def progress(self, done, note=""):
        self.events.append(("progress", done))

    def stopping(self):
        return self.stop and any(kind == "progress" for kind, *_ in self.events)


def metrics(outcomes):
    return {outcome.run.folder(): outcome.record.metrics for outcome in outcomes}


@pytest.mark.new_interpreters
def test_a_pool_gets_what_one_process_gets(run_of, tmp_path):
    runs = [run_of(method, seed) for seed in (0, 1) for method in ("simclr", "random")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = metrics(run_inline(runs, ExecutionContext(tmp_path / "alone", tmp_path, "cpu"), Listener()))
    finally:
        torch.set_num_threads(threads)
    listener = Listener()
    context = ExecutionContext(tmp_path / "pool", tmp_path, "cpu")
    assert metrics(run_pool(runs, [context] * 2, listener, threads=1)) == alone
    assert sum(kind == "start" for kind, *_ in listener.events) == 4
    assert ("pretrain", 2304) in listener.events or any(kind == "pretrain" for kind, *_ in listener.events)


def test_a_process_that_dies_takes_only_its_own_run_with_it(run_of, tmp_path):
    plugin = tmp_path / "deadly.py"
    plugin.write_text(textwrap.dedent(DEADLY))
    add_file(plugin)
    runs = [run_of("deadly", plugins=[str(plugin)]), *(run_of("random", seed) for seed in range(3))]
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    outcomes = {o.run.method.name: o for o in run_pool(runs, [context] * 2, Listener(), threads=1)}
    assert outcomes["deadly"].reason.startswith("its process was killed by SIGKILL; if memory ran out, lower the batch")
    statuses = {run.folder(): store.read_run(context.runs / run.folder()) for run in runs}
    assert [stored.status for stored in statuses.values()] == ["failed", "done", "done", "done"]
    assert statuses[runs[0].folder()].failure["reason"] == outcomes["deadly"].reason


@pytest.mark.slow
def test_after_a_fault_of_memory_or_gpu_a_new_process_goes_on(run_of, tmp_path):
    """A worker process after this one, and another after that; after a run that is done the same process goes on."""
    plugin = tmp_path / "faulty.py"
    plugin.write_text(FAULTY)
    add_file(plugin)
    names = ("large", "counted", "faulty", "counted", "counted")
    runs = [run_of(name, seed, plugins=[str(plugin)], views=256) for seed, name in enumerate(names)]
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    outcomes = list(run_inline(runs, context, Listener()))
    first, *others = (outcome.record.history[0]["pid"] for outcome in outcomes if outcome.record)
    assert len({os.getpid(), first, *others}) == 3
    assert others[0] == others[1]
    reasons = {outcome.run.method.name: outcome.reason for outcome in outcomes if not outcome.record}
    assert reasons["large"].startswith("out of memory; lower the batch with --set pretrain.batch=N")
    assert reasons["faulty"] == "the GPU failed: RuntimeError: CUDA error: device-side assert triggered"


def test_a_process_that_dies_before_it_reads_its_run_fails_that_run_alone(run_of, tmp_path, monkeypatch):
    first, second = run_of("random", 0), run_of("random", 1)
    start_run = Worker.start_run

    def killed_at_once(worker, run):
        start_run(worker, run)
        if run is first:
            os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(Worker, "start_run", killed_at_once)
    context = ExecutionContext(tmp_path, tmp_path, "cpu")
    outcomes = {o.run.seed: o for o in run_pool([first, second], [context], Listener(), threads=1)}
    assert outcomes[0].reason.startswith("its process was killed by SIGKILL")
    assert store.read_run(tmp_path / first.folder()).failure["reason"] == outcomes[0].reason
    assert outcomes[1].record


PARENT = """
import sys
from pathlib import Path
from protocols.spec.execution import ExecutionContext
from protocols.spec.run import Run
from slurm.monitor import Monitor
from slurm.pool import Worker, run_pool
from protocols.system.progress import ProgressListener

class Quiet(Monitor):
    def on_run_start(self, run):
        return ProgressListener()

if __name__ == "__main__":
    import json
    run, folder = Run.from_config(json.loads(sys.argv[1])), Path(sys.argv[2])
    list(run_pool([run], [ExecutionContext(folder, folder, "cpu")], Quiet(), threads=1))
"""


def test_workers_end_with_their_parent(run_of, tmp_path):
    """They save the state of their runs."""
    config = {key: value for key, value in run_of("simclr").config().items() if key != "fingerprint"}
    config["pretrain"] = {**config["pretrain"], "epochs": None, "views": 10**9}
    run = Run.from_config(config)
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", json.dumps(config), tmp_path])
    claim, heartbeat = (tmp_path / run.folder() / name for name in (store.CLAIM, store.HEARTBEAT))
    while "pretrain" not in (read_text(heartbeat)) or not store.read_json(heartbeat)["done"]:
        assert parent.poll() is None
        time.sleep(0.2)
    worker = store.read_claim(claim).pid
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 15
    while store.is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not store.is_alive(worker)
    assert (tmp_path / run.folder() / store.CHECKPOINT).exists()
    assert not claim.exists()


def read_text(path):
    return path.read_text() if path.exists() else ""


def test_stopping_a_pool_keeps_every_state(run_of, tmp_path):
    runs = [run_of("simclr", seed, views=500_000) for seed in range(3)]
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    with pytest.raises(KeyboardInterrupt):
        list(run_pool(runs, [context] * 2, Listener(stop=True), threads=1))
    kept = [(context.runs / run.folder() / store.CHECKPOINT).exists() for run in runs]
    assert kept[:2] == [True, True]
    assert not (context.runs / runs[2].folder()).exists()
    assert not list(context.runs.glob("*/claim.json"))


HELPED = """
import multiprocessing, os, signal, time
from bench import Method, register_method

@register_method("helped")
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
from bench import Method, register_method

@register_method("stubborn")
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
    (outcome,) = run_pool([run], [ExecutionContext(tmp_path / "runs", tmp_path, "cpu")], Listener(), threads=1)
    assert outcome.record, outcome.reason


class Hurried(Listener):
    def stopping(self):
        return any(kind == "compiling" for kind, *_ in self.events)


def test_a_run_that_does_not_stop_in_time_is_killed(run_of, tmp_path):
    run = plugin_run(run_of, tmp_path, "stubborn", STUBBORN)
    context = ExecutionContext(tmp_path / "runs", tmp_path, "cpu")
    with pytest.raises(KeyboardInterrupt):
        list(run_pool([run], [context], Hurried(), threads=1, stop_timeout_s=0.5))
    stored = store.read_run(context.runs / run.folder())
    assert stored.status == "unfinished"
    assert store.is_abandoned(stored.folder / store.CLAIM)


CHANGING = STUBBORN.replace("stubborn", "changing")


def test_a_plugin_that_changed_is_not_run(run_of, tmp_path):
    run = plugin_run(run_of, tmp_path, "changing", CHANGING)
    (tmp_path / "changing.py").write_text(textwrap.dedent(CHANGING) + "# changed")
    (outcome,) = run_pool([run], [ExecutionContext(tmp_path / "runs", tmp_path, "cpu")], Listener(), threads=1)
    assert outcome.reason.startswith("changing was changed after the run was planned")
    assert store.read_run(tmp_path / "runs" / run.folder()).status == "failed"
