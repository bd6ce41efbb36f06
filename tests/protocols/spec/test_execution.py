"""How runs are executed where nothing else was asked for."""

from pathlib import Path

import pytest

from protocols.spec import execution
from protocols.spec.execution import MEMORY_PER_RUN, ExecutionContext, available_cores, max_parallel_runs


def test_by_default_one_process_trains_by_the_fast_operations():
    context = ExecutionContext(Path("runs"), Path("data"))
    assert (context.device, context.reference, context.ranks) == ("auto", False, 1)


@pytest.mark.parametrize(("cores", "memory", "runs"), [(8, 100, 8), (8, 3, 3), (1, 100, 1), (4, 0.5, 1)])
def test_runs_at_a_time_need_a_core_and_memory_each(monkeypatch, cores, memory, runs):
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(memory * MEMORY_PER_RUN) // 4096}
    monkeypatch.setattr(execution, "available_cores", lambda: cores)
    monkeypatch.setattr(execution.os, "sysconf", pages.__getitem__)
    assert max_parallel_runs() == runs


def test_cores_are_those_of_the_process_and_of_the_job(monkeypatch):
    monkeypatch.setattr(execution.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    assert available_cores() == 4
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert available_cores() == 2
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "16")
    assert available_cores() == 4
