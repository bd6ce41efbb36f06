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
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import pretrain
from protocols.pretrain.process_group import init_process_group, shutdown
from protocols.spec.resolve import load_plugins
from protocols.spec.run import Run
from protocols.system.device import prepare_process
from protocols.system.progress import ProgressListener
from results.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            init_process_group(0, context, Path(rendezvous))
            yield
            for other in others:
                other.join(EXIT_TIMEOUT_S)
        except Exception as error:
            failures = [path.read_text(encoding="utf-8") for path in sorted(Path(rendezvous).glob("failure-*"))]
            if failures:
                raise BenchError("; ".join(failures)) from error
            raise
        finally:
            shutdown(others)
            torch.set_num_threads(threads)


def run_rank(  # noqa: PLR0917 - a process is started with arguments by position
    number: int, config: Any, folder: Path, context: ExecutionContext, rendezvous: Path, threads: int
) -> None:
    """Main function of a rank above 0: the same pretraining, without storing anything."""
    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(known, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    prepare_process(threads)
    try:
        device = init_process_group(number, context, rendezvous)
        run = Run.from_config(config)
        load_plugins(run)
        dataset = load_dataset(run.dataset.name, context.data)
        job = build_job(run, folder, dataset, device, reference=context.reference)
        pretrain(job, ProgressListener())
    except Exception as error:  # noqa: BLE001 - rank 0 has to report whatever it is
        message = f"rank {number}: {type(error).__name__}: {error}"
        (rendezvous / f"failure-{number}").write_text(message, encoding="utf-8")
        traceback.print_exc()
        os._exit(1)


def exit_with_parent() -> None:
    """Exit this process when the process of rank 0 has ended for any reason."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
