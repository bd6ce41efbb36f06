"""The processes that share one run's pretraining.

Rank 0 is the process that executes the run. It starts the other ranks, unless torchrun or srun has started them, saves
the run's state and evaluates it. The other ranks only take part in pretraining, and exit when rank 0 does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import traceback
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.launched import launched_rank, report_failure, run_store, share_run
from protocols.pretrain.loop import pretrain
from protocols.pretrain.process_group import init_process_group, shutdown
from protocols.spec import execution
from protocols.spec.execution import ExecutionContext, signal_name
from protocols.spec.resolve import load_plugins
from protocols.spec.run import Run
from protocols.system.device import deterministic_algorithms, prepare_process
from protocols.system.progress import ProgressListener
from results.errors import BenchError, describe
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from protocols.pretrain.launched import LaunchedRank, Order

EXIT_TIMEOUT_S = 10.0
"""Seconds that other ranks may take to exit after pretraining."""


@contextlib.contextmanager
def launch_ranks(run: Run, folder: Path, context: ExecutionContext) -> Iterator[None]:
    """Have the other ranks share a run's pretraining; this process is rank 0.

    Raises:
        BenchError: another rank failed; its error is reported instead of this rank's.
    """
    if context.ranks == 1:
        yield
        return
    if context.launched:
        with share_with_followers(run, folder, context):
            yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // context.ranks))
    with tempfile.TemporaryDirectory() as rendezvous:
        arguments = (run.config(), folder, context, Path(rendezvous), torch.get_num_threads())
        others = [
            execution.processes.Process(target=run_rank, args=(n, *arguments), daemon=True)
            for n in range(1, context.ranks)
        ]
        try:
            for other in others:
                other.start()
            wait_for_start(others, Path(rendezvous))
            init_process_group(0, context, Path(rendezvous))
            yield
            for other in others:
                other.join(EXIT_TIMEOUT_S)
        except BenchError:
            raise
        except Exception as error:
            if may_follow_from_another_rank(error):
                for other in others:
                    other.join(EXIT_TIMEOUT_S / len(others))
            if failure := first_failure(others, Path(rendezvous)):
                raise BenchError(failure) from error
            raise
        finally:
            shutdown(others)
            torch.set_num_threads(threads)


def wait_for_start(others: Sequence[BaseProcess], rendezvous: Path) -> None:
    """Wait until the other ranks are about to join the process group, which would be waited for half an hour.

    Raises:
        BenchError: one has ended before.
    """
    while not all((rendezvous / f"started-{number}").exists() for number in range(1, len(others) + 1)):
        connection.wait([other.sentinel for other in others], timeout=0.05)
        if failure := first_failure(others, rendezvous):
            raise BenchError(failure)


def first_failure(others: Sequence[BaseProcess], rendezvous: Path) -> str:
    """What went wrong first in another rank, that of others follows from it; empty if nothing did."""
    written = sorted(rendezvous.glob("failure-*"), key=lambda path: path.stat().st_mtime_ns)
    failures = [path.read_text(encoding="utf-8") for path in written]
    for number, other in enumerate(others, start=1):
        if other.exitcode and not (rendezvous / f"failure-{number}").exists():
            failures.insert(0, f"rank {number} {describe_exit(other.exitcode)}")
    return failures[0] if failures else ""


def describe_exit(code: int) -> str:
    """How a process ended, from its exit code: negative if a signal ended it."""
    return f"was killed by {signal_name(-code)}" if code < 0 else f"ended with status {code}"


def may_follow_from_another_rank(error: Exception) -> bool:
    """Whether an error of this rank may be no more than what it notices of another's end; gloo's say no more."""
    return isinstance(error, distributed.DistError) or type(error) is RuntimeError


@contextlib.contextmanager
def share_with_followers(run: Run, folder: Path, context: ExecutionContext) -> Iterator[None]:
    """:func:`launch_ranks` where a launcher has started the other ranks.

    Raises:
        BenchError: another rank failed; its error is reported instead of this rank's.
    """
    this = launched_rank(context.ranks)
    assert this is not None
    order = {
        "config": run.config(),
        "folder": str(folder.resolve()),
        "data": str(context.data.resolve()),
        "device": context.device,
        "reference": context.reference,
        "deterministic": context.deterministic,
    }
    with share_run(this, **order) as store:
        try:
            init_process_group(0, context, store, local=this.local_rank)
            yield
        finally:
            shutdown([])


def run_follower(this: LaunchedRank, order: Order) -> None:
    """Main function of the process of a follower: its part of the pretraining that an order names."""
    folder = Path(order.folder)
    context = ExecutionContext(
        folder.parent,
        Path(order.data),
        order.device,
        order.reference,
        this.ranks,
        deterministic=order.deterministic,
    )
    store = run_store(this.connect(), order.number)

    def join_group() -> torch.device:
        store.add("started", 1)
        return init_process_group(this.rank, context, store, local=this.local_rank)

    run_pretraining(
        order.config,
        folder,
        context,
        this.threads,
        join_group,
        lambda text: report_failure(store, f"rank {this.rank}: {text}"),
    )


def run_rank(  # noqa: PLR0917 - a process is started with arguments by position
    number: int, config: Any, folder: Path, context: ExecutionContext, rendezvous: Path, threads: int
) -> None:
    """Main function of a rank above 0 that :func:`launch_ranks` has started."""

    def join_group() -> torch.device:
        (rendezvous / f"started-{number}").touch()
        return init_process_group(number, context, rendezvous)

    def report(text: str) -> None:
        message = f"rank {number}: {text}"
        write_atomically(rendezvous / f"failure-{number}", lambda path: path.write_text(message, encoding="utf-8"))

    threading.Thread(target=exit_with_parent, daemon=True).start()
    run_pretraining(config, folder, context, threads, join_group, report)


def run_pretraining(  # noqa: PLR0917 - see run_rank
    config: Any,
    folder: Path,
    context: ExecutionContext,
    threads: int,
    join_group: Callable[[], torch.device],
    report: Callable[[str], None],
) -> None:
    """The same pretraining as that of rank 0, without storing anything; ends the process if it fails.

    Args:
        config: of the run.
        folder: of the run.
        context: where and how the run is executed.
        threads: of this process.
        join_group: joins the process group and returns this rank's device.
        report: is told what failed.
    """
    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(known, signal.SIG_IGN)
    prepare_process(threads)
    try:
        run = Run.from_config(config)
        load_plugins(run)
        device = join_group()
        dataset = load_dataset(run.dataset.name, context.data)
        with deterministic_algorithms(required=context.deterministic):
            job = build_job(run, folder, dataset, device, reference=context.reference)
            pretrain(job, ProgressListener())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - rank 0 has to report whatever it is
        report(describe(error))
        traceback.print_exc()
        os._exit(1)


def exit_with_parent() -> None:
    """Exit this process when the process of rank 0 has ended for any reason."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
