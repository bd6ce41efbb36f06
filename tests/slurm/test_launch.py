"""The choice between this process and worker processes, and of their devices."""

import pytest
import torch

from protocols.spec.execution import ExecutionContext
from protocols.system.progress import ProgressListener
from results.errors import RequestError
from slurm.launch import launch, worker_contexts
from slurm.monitor import Monitor


class Silent(Monitor):
    def on_run_start(self, run):
        return ProgressListener()


def test_one_run_needs_no_pool(run_of, tmp_path):
    outcomes = list(launch([run_of("random")], ExecutionContext(tmp_path / "runs", tmp_path, "cpu"), Silent()))
    assert outcomes[0].record.cost.device.endswith(f"{torch.get_num_threads()} threads")


def test_places_follow_what_is_asked_for_and_what_there_is(tmp_path, monkeypatch):
    context = ExecutionContext(tmp_path, tmp_path, "cpu")
    monkeypatch.setattr("slurm.launch.max_parallel_runs", lambda: 4)
    assert len(worker_contexts(context, 10, oversubscribe=False)) == 4
    assert len(worker_contexts(context, 3, oversubscribe=False)) == 3
    assert len(worker_contexts(context, 10, oversubscribe=True)) == 10


def test_gpus_are_used_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.launch.visible_gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    context = ExecutionContext(tmp_path, tmp_path)

    def devices(jobs, **how):
        return [one.device for one in worker_contexts(context, jobs, **how)]

    assert devices(10, oversubscribe=False) == ["cuda:0", "cuda:1"]
    assert devices(10, oversubscribe=False, per_gpu=2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert devices(3, oversubscribe=True) == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("device", "ranks", "first"),
    [("auto", 2, ["cuda:0", "cuda:2"]), ("auto", 4, ["cuda:0"]), ("cuda:3", 2, ["cuda:3"]), ("cuda:1", 1, ["cuda:1"])],
)
def test_ranks_of_a_run_have_neighbouring_gpus(tmp_path, monkeypatch, device, ranks, first):
    monkeypatch.setattr("slurm.launch.visible_gpus", lambda: [f"cuda:{n}" for n in range(5)])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    contexts = worker_contexts(ExecutionContext(tmp_path, tmp_path, device, ranks=ranks), 10, oversubscribe=False)
    assert [one.device for one in contexts] == first
    assert all(one.ranks == ranks for one in contexts)


def test_more_ranks_than_gpus_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.launch.visible_gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr("protocols.system.device.choose_device", lambda name: torch.device("cuda"))
    with pytest.raises(RequestError, match="--ranks 3 needs 3 GPUs; starting from auto there are 2"):
        worker_contexts(ExecutionContext(tmp_path, tmp_path, ranks=3), 10, oversubscribe=False)
