"""The launcher interface, and the choice between its two forms on one machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.spec.execution import available_cores, max_parallel_runs
from results.errors import RequestError, RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from protocols.system.progress import ProgressListener
    from results.record import Record


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: which.
        record: what it left; None if it failed.
        reason: why it failed.
    """

    run: Run
    record: Record | None
    reason: str = ""


class Monitor:
    """Hears of runs as a launcher carries them out."""

    def begins(self, run: Run) -> ProgressListener:
        """A run begins; returns who hears of its progress."""
        raise NotImplementedError

    def ends(self, outcome: Outcome) -> None:
        """A run is over."""


def launch(
    runs: Sequence[Run], context: ExecutionContext, monitor: Monitor, *, jobs: int | None = None, per_gpu: int = 1
) -> Iterator[Outcome]:
    """Carry runs out on this machine; a run that fails touches no other.

    Args:
        runs: to be carried out, begun in this order.
        context: where.
        monitor: hears of them.
        jobs: runs at a time; by default ``per_gpu`` on each GPU, or one a core, which is what small backbones use best.
        per_gpu: runs at a time on one GPU.

    Yields:
        How each run ended, as it ends.

    Raises:
        KeyboardInterrupt: a listener asked to stop; the runs have kept their state.
    """
    from slurm.pool import pool

    contexts = places_for(context, min(jobs or len(runs), len(runs)), every=jobs is not None, per_gpu=per_gpu)
    if len(contexts) == 1:
        return inline(runs, context, monitor)
    return pool(runs, contexts, monitor, threads=max(1, available_cores() // len(contexts)))


def places_for(context: ExecutionContext, jobs: int, *, every: bool, per_gpu: int = 1) -> list[ExecutionContext]:
    """A context for each of at most ``jobs`` runs at a time, GPUs in turn; ranks of a run have neighbouring ones.

    More than ``per_gpu`` on a GPU, or one a core, only if ``every`` is wanted.

    Raises:
        RequestError: there are fewer GPUs than ranks.
    """
    from protocols.system.device import choose_device

    if choose_device(context.device).type != "cuda":
        return [context] * (jobs if every else max(1, min(jobs, max_parallel_runs() // context.ranks)))
    devices = first_devices(context)
    count = jobs if every else min(jobs, per_gpu * len(devices))
    return [dataclasses.replace(context, device=devices[i % len(devices)]) for i in range(count)]


def first_devices(context: ExecutionContext) -> list[str]:
    """The GPUs of the first ranks of runs."""
    found = gpus()
    if context.device not in ("auto", "cuda"):
        first = int(context.device.partition(":")[2] or 0)
        found = found[first : first + context.ranks]
    if len(found) < context.ranks:
        raise RequestError(
            f"--ranks {context.ranks} wants as many GPUs; from {context.device} on there are {len(found)}"
        )
    return found[:: context.ranks][: len(found) // context.ranks]


def gpus() -> list[str]:
    """The GPUs of this machine, by torch's names."""
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def inline(runs: Sequence[Run], context: ExecutionContext, monitor: Monitor) -> Iterator[Outcome]:
    """:func:`launch` in this process, one run after the other."""
    from protocols.runner import execute
    from protocols.system.device import prepare_process

    prepare_process()
    for run in runs:
        try:
            outcome = Outcome(run, execute(run, context, monitor.begins(run)))
        except RunFailed as failure:
            outcome = Outcome(run, None, failure.message)
        monitor.ends(outcome)
        yield outcome
