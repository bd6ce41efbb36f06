"""Runs on this machine: one after the other in this process, or several at a time in worker processes."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from protocols.spec.execution import available_cores, max_parallel_runs
from protocols.spec.resolve import missing_evaluations
from results.errors import Busy, RequestError, RunFailed
from results.record import Record
from results.store import read_run
from slurm.monitor import Outcome
from slurm.pool import run_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from slurm.monitor import Monitor

POLL_INTERVAL_S = 1.0
"""How often a run that another process executes is looked at."""


def launch(
    runs: Sequence[Run],
    context: ExecutionContext,
    monitor: Monitor,
    *,
    jobs: int | None = None,
    per_gpu: int = 1,
) -> Iterator[Outcome]:
    """Execute runs on this machine; a run that fails does not affect the others.

    The results of runs that another process is executing are waited for, when the others are done.

    Args:
        runs: started in this order.
        context: folders and device.
        monitor: receives the start, progress and end of every run.
        jobs: runs at a time. By default ``per_gpu`` on each GPU; on the CPU one per core, which suits small backbones
            best.
        per_gpu: runs at a time on one GPU.

    Yields:
        The outcome of each run, as soon as it ends.

    Raises:
        KeyboardInterrupt: the monitor asked to stop; the runs have saved their state.
    """
    workers = min(jobs or len(runs), len(runs))
    contexts = worker_contexts(context, workers, oversubscribe=jobs is not None, per_gpu=per_gpu)
    if len(contexts) == 1:
        outcomes = run_inline(runs, context, monitor)
    else:
        outcomes = run_pool(runs, contexts, monitor, threads=max(1, available_cores() // len(contexts)))
    busy = []
    for outcome in outcomes:
        if outcome.busy:
            busy.append(outcome.run)
        else:
            yield outcome
    for run in busy:
        yield take_or_execute(run, context, monitor)


def worker_contexts(
    context: ExecutionContext, workers: int, *, oversubscribe: bool, per_gpu: int = 1
) -> list[ExecutionContext]:
    """One context for each worker process; GPUs are assigned in turn, and ranks of a run use consecutive GPUs.

    Args:
        context: folders and device of all workers.
        workers: number of worker processes, at most.
        oversubscribe: use that many even if they exceed ``per_gpu`` on each GPU or one per core.
        per_gpu: workers on one GPU.

    Raises:
        RequestError: there are fewer GPUs than ranks.
    """
    from protocols.system.device import choose_device

    if context.launched:  # all ranks share one run at a time
        return [context]
    if choose_device(context.device).type != "cuda":
        return [context] * (workers if oversubscribe else max(1, min(workers, max_parallel_runs() // context.ranks)))
    gpus = visible_gpus()
    if context.device not in ("auto", "cuda"):
        first = int(context.device.partition(":")[2] or 0)
        gpus = gpus[first : first + context.ranks]
    if len(gpus) < context.ranks:
        raise RequestError(
            f"--ranks {context.ranks} needs {context.ranks} GPUs; starting from {context.device} there are {len(gpus)}"
        )
    rank_zero_gpus = gpus[:: context.ranks][: len(gpus) // context.ranks]
    count = workers if oversubscribe else min(workers, per_gpu * len(rank_zero_gpus))
    return [dataclasses.replace(context, device=rank_zero_gpus[i % len(rank_zero_gpus)]) for i in range(count)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that torch gives them."""
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def run_inline(runs: Sequence[Run], context: ExecutionContext, monitor: Monitor) -> Iterator[Outcome]:
    """Execute runs in this process, one after the other; see :func:`launch`.

    After a failure of memory or of the GPU, a new process executes the rest.
    """
    from protocols.runner import execute
    from protocols.system.device import prepare_process

    prepare_process()
    for number, run in enumerate(runs, start=1):
        broken = False
        try:
            outcome = Outcome(run, execute(run, context, monitor.on_run_start(run)))
        except RunFailed as failure:
            outcome = Outcome(run, None, failure.message, busy=isinstance(failure, Busy))
            broken = failure.needs_new_process
        monitor.on_run_end(outcome)
        yield outcome
        if broken and number < len(runs):
            yield from run_pool(runs[number:], [context], monitor, threads=available_cores())
            return


def take_or_execute(run: Run, context: ExecutionContext, monitor: Monitor) -> Outcome:
    """Wait for the process that is executing a run; take its record, or execute what it leaves undone.

    Raises:
        KeyboardInterrupt: the monitor asked to stop.
    """
    from protocols.runner import execute
    from protocols.system.device import prepare_process

    prepare_process()
    listener = monitor.on_run_start(run)
    listener.stage("wait for another process", 1)
    while True:
        stored = read_run(context.runs / run.folder())
        if stored.record and not missing_evaluations(run, stored.record):
            outcome = Outcome(run, Record.from_json(stored.record))
            break
        try:
            outcome = Outcome(run, execute(run, context, listener))
        except Busy:
            if listener.stopping():
                raise KeyboardInterrupt from None
            time.sleep(POLL_INTERVAL_S)
            continue
        except RunFailed as failure:
            outcome = Outcome(run, None, failure.message)
        break
    monitor.on_run_end(outcome)
    return outcome
