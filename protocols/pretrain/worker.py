"""Starts the processes of a node that share one run's pretraining.

Rank 0 is the process that executes the run. It starts the other ranks, saves the run's state and evaluates it. The
other ranks only take part in pretraining, and exit when rank 0 does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import traceback
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import pretrain
from protocols.pretrain.process_group import init_process_group, shutdown
from protocols.spec.resolve import load_plugins
from protocols.spec.run import Run
from protocols.system.device import prepare_process
from protocols.system.progress import ProgressListener
from results.errors import BenchError
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from protocols.spec.execution import ExecutionContext

EXIT_TIMEOUT_S = 10.0
"""Seconds that other ranks may take to exit after pretraining."""


@contextlib.contextmanager
def launch_ranks(run: Run, folder: Path, context: ExecutionContext) -> Iterator[None]:
    """Start the other ranks of a run's pretraining; this process is rank 0.

    Raises:
        BenchError: another rank failed; its error is reported instead of this rank's.
    """
    if context.ranks == 1:
        yield
        return
    spawn, threads = get_context("spawn"), torch.get_num_threads()
    torch.set_num_threads(max(1, threads // context.ranks))
    with tempfile.TemporaryDirectory() as rendezvous:
        arguments = (run.config(), folder, context, Path(rendezvous), torch.get_num_threads())
        others = [spawn.Process(target=run_rank, args=(n, *arguments), daemon=True) for n in range(1, context.ranks)]
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
            if is_communication_error(error):
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
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def is_communication_error(error: Exception) -> bool:
    """Whether an error of torch may say that another rank is gone; gloo raises plain RuntimeErrors."""
    return isinstance(error, distributed.DistError) or type(error) is RuntimeError


def run_rank(  # noqa: PLR0917 - a process is started with arguments by position
    number: int, config: Any, folder: Path, context: ExecutionContext, rendezvous: Path, threads: int
) -> None:
    """Main function of a rank above 0: the same pretraining, without storing anything."""
    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(known, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    prepare_process(threads)
    try:
        run = Run.from_config(config)
        load_plugins(run)
        (rendezvous / f"started-{number}").touch()
        device = init_process_group(number, context, rendezvous)
        dataset = load_dataset(run.dataset.name, context.data)
        job = build_job(run, folder, dataset, device, reference=context.reference)
        pretrain(job, ProgressListener())
    except Exception as error:  # noqa: BLE001 - rank 0 has to report whatever it is
        message = f"rank {number}: {type(error).__name__}: {error}"
        write_atomically(rendezvous / f"failure-{number}", lambda path: path.write_text(message, encoding="utf-8"))
        traceback.print_exc()
        os._exit(1)


def exit_with_parent() -> None:
    """Exit this process when the process of rank 0 has ended for any reason."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
