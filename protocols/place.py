"""Where runs are carried out. Never imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where runs are carried out; nothing of it changes a run's identity.

    Attributes:
        runs: folder of the runs.
        data: folder of the data sets.
        device: ``auto`` or a torch device.
        plain: train by plain torch operations, without the quicker ways that give the same to rounding.
        ranks: processes that share each run's pretraining, with a GPU each, or a share of the cores.
    """

    runs: Path
    data: Path
    device: str = "auto"
    plain: bool = False
    ranks: int = 1


MEMORY_A_RUN = 2 * 2**30
"""Bytes that a run on a CPU is expected to need at most."""


def cores() -> int:
    """How many cores this process may use; SLURM says how many even where it does not bind processes to them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, int(os.environ.get("SLURM_CPUS_ON_NODE", here)))


def room() -> int:
    """How many runs at a time this machine's cores and memory have room for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores(), memory // MEMORY_A_RUN))
