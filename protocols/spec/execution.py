"""Where and how runs are executed; does not change a run's identity. Never imports torch."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ExecutionContext:
    """Where and how runs are executed.

    Attributes:
        runs: folder of the runs.
        data: folder of the data sets.
        device: ``auto`` or a torch device.
        reference: train by reference operations, without the compiled and hand-written kernels that give the same to
            rounding.
        ranks: processes that share each run's pretraining, with a GPU each, or a share of the cores.
        launched: the ranks are processes that torchrun or srun has started, on one node or several; otherwise rank 0
            starts the others.
        deterministic: refuse kernels of CUDA whose results depend on the order in which threads happen to run.
        log: names of what runs are followed in beside the terminal, see ``protocols.system.run_log``.
    """

    runs: Path
    data: Path
    device: str = "auto"
    reference: bool = False
    ranks: int = 1
    launched: bool = False
    deterministic: bool = False
    log: tuple[str, ...] = ()


processes = multiprocessing.get_context("spawn")
"""How processes of runs are started: as new interpreters, since a process that has trained cannot be forked."""

MEMORY_PER_RUN = 2 * 2**30
"""Upper bound of the memory of a run on a CPU, in bytes."""


def available_cores() -> int:
    """Number of cores that this process may use; SLURM's number where it does not bind processes to cores."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allotted = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(here, int(allotted)) if re.fullmatch(r"[0-9]{1,9}", allotted) and int(allotted) else here


def max_parallel_runs() -> int:
    """Maximum number of runs at a time for this machine's cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(available_cores(), memory // MEMORY_PER_RUN))


def signal_name(number: int) -> str:
    """The name of a signal, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
