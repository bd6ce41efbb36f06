"""Runs several at a time, in worker processes.

A worker process executes many runs, so that it loads a data set once for all of them. If it dies, or a run finds its
memory or its GPU broken, only its current run counts as failed, and a new process takes the next one. Signals that ask
the command to stop are handled by the parent process alone: workers are told to stop by an event, and processes that a
method starts are not told at all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from protocols.spec import execution
from protocols.spec.execution import signal_name
from protocols.spec.run import Run
from protocols.system.progress import ProgressListener
from results.errors import Busy, RequestError, RunFailed
from results.record import Record
from results.store import CONFIG, FAILURE, write_failure, write_json
from slurm.monitor import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Event

    from protocols.spec.execution import ExecutionContext
    from slurm.monitor import Monitor

PROGRESS_INTERVAL_S = 0.2
"""Minimum time between two progress messages of a worker."""

STOP_TIMEOUT_S = 60.0
"""Time that a worker has to save the state of its run and exit, before it is killed."""

STOP_EVENT_TIMEOUT_S = 1.0
"""How long a worker whose run failed waits for the stop event, which would mean that the run was stopped instead."""

ORPHAN_TIMEOUT_S = 10.0
"""Time that a worker has to save the state of its run after its parent has died."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Signals that ask the command to stop; SLURM jobs receive USR2."""


def run_pool(
    runs: Sequence[Run],
    contexts: Sequence[ExecutionContext],
    monitor: Monitor,
    *,
    threads: int,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> Iterator[Outcome]:
    """Execute runs in as many worker processes as there are contexts.

    Args:
        runs: started in this order.
        contexts: one for each worker; they may differ in their device.
        monitor: receives the start, progress and end of every run.
        threads: CPU threads of each worker.
        stop_timeout_s: seconds that runs have to save their state once asked to stop; then they are killed.

    Yields:
        The outcome of each run, as soon as it ends; a run that fails does not affect the others.

    Raises:
        KeyboardInterrupt: a listener asked to stop; every run that stopped in time has saved its state.
    """
    pending, deadline = list(reversed(runs)), float("inf")
    with block_stop_signals():
        stop = execution.processes.Event()
    workers = [Worker(context, monitor, threads, stop) for context in contexts[: len(runs)]]
    try:
        while pending or any(worker.run for worker in workers):
            for worker in workers:
                if not worker.run and pending and not stop.is_set():
                    worker.start_run(pending.pop())
            wait([worker.pipe for worker in workers if worker.run], timeout=PROGRESS_INTERVAL_S)
            for worker in workers:
                if outcome := worker.poll_messages():
                    monitor.on_run_end(outcome)
                    yield outcome
            if not stop.is_set() and any(worker.listener.stopping() for worker in workers):
                stop.set()
                deadline = time.monotonic() + stop_timeout_s
            if stop.is_set() and (time.monotonic() > deadline or not any(worker.run for worker in workers)):
                raise KeyboardInterrupt
    finally:
        for worker in workers:
            worker.shutdown()


@contextlib.contextmanager
def block_stop_signals() -> Iterator[None]:
    """Block the stop signals in this process, and in any process that is started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Worker:
    """A process that executes one run at a time, seen from the parent process.

    Attributes:
        context: folders and device of its runs.
        monitor: receives the start of its runs.
        threads: CPU threads of the process.
        stop: set when the run shall save its state and stop.
        run: the current run; None if idle.
        listener: receives the progress of the current run.
        process: the process; None before the first run and after the process has died.
        pipe: connection to the process.
    """

    context: ExecutionContext
    monitor: Monitor
    threads: int
    stop: Event
    run: Run | None = None
    listener: ProgressListener = field(default_factory=ProgressListener)
    process: BaseProcess | None = None
    pipe: Connection = field(init=False)

    def start_run(self, run: Run) -> None:
        """Send a run to the process, which is started if there is none."""
        if self.process is None:
            self.pipe, child_pipe = execution.processes.Pipe()
            args = (child_pipe, self.context, self.threads, self.stop)
            self.process = execution.processes.Process(target=worker_main, args=args)
            with block_stop_signals():
                self.process.start()
            child_pipe.close()
        self.run, self.listener = run, self.monitor.on_run_start(run)
        with contextlib.suppress(OSError):  # the process has died: the next poll finds it out
            self.pipe.send(run.config())

    def poll_messages(self) -> Outcome | None:
        """Forward the messages that have arrived to the listener; returns the outcome if the run has ended."""
        try:
            while self.run and self.pipe.poll():
                kind, *content = self.pipe.recv()
                if kind in ("stage", "progress", "warn"):
                    getattr(self.listener, kind)(*content)
                    continue
                run, self.run = self.run, None
                if kind == "stopped":
                    return None
                if kind == "done":
                    return Outcome(run, Record.from_json(*content))
                if kind == "broken":
                    self._end_process()
                return Outcome(run, None, str(content[0]), busy=kind == "busy")
        except (EOFError, OSError):
            return self._handle_death()
        return None

    def _end_process(self) -> None:
        """End a process that is no longer fit for runs; the next run gets a new one."""
        assert self.process is not None
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process = None

    def _handle_death(self) -> Outcome | None:
        """Record the failure of the current run, unless it was asked to stop."""
        assert self.process is not None
        assert self.run is not None
        self.process.join()
        run, code = self.run, self.process.exitcode or 0
        self.run, self.process = None, None
        if self.stop.is_set():
            return None
        reason = f"its process was killed by {signal_name(-code)}" if code < 0 else "its process died"
        if code == -signal.SIGKILL:
            reason += "; if memory ran out, lower the batch with --set pretrain.batch=N, or --jobs"
        fail(run, self.context, reason)
        return Outcome(run, None, reason)

    def shutdown(self) -> None:
        """End the process; one that is still executing a run is killed."""
        if self.process is not None:
            with contextlib.suppress(OSError):  # closing it is not enough where a forked process holds it open too
                self.pipe.send(None)
            self.pipe.close()
            self.process.join(0 if self.run else STOP_TIMEOUT_S)
            self.process.kill()
            self.process.join()


class PipeReporter(ProgressListener):
    """Sends the progress of a run from a worker process to its parent.

    Args:
        pipe: connection to the parent; the run is asked to stop if the parent has closed it.
        stop: set when the run shall stop.
    """

    def __init__(self, pipe: Connection, stop: Event) -> None:
        self.pipe = pipe
        self.stop = stop
        self._last_progress = 0.0

    def _send(self, *message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            self.stop.set()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Send the stage; the first progress within it is sent at once."""
        self._last_progress = 0.0
        self._send("stage", name, total, done)

    def progress(self, done: int, note: str = "") -> None:
        """Send the progress, at most once every ``PROGRESS_INTERVAL_S``."""
        if time.monotonic() - self._last_progress >= PROGRESS_INTERVAL_S:
            self._last_progress = time.monotonic()
            self._send("progress", done, note)

    def warn(self, text: str) -> None:
        """Send the warning."""
        self._send("warn", text)

    def stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self.stop.is_set()


def worker_main(pipe: Connection, context: ExecutionContext, threads: int, stop: Event) -> None:
    """Main function of a worker process: execute the runs that arrive, until None does or the pipe is closed."""
    ignore_stop_signals()
    from protocols.system.device import prepare_process

    prepare_process(threads)
    threading.Thread(target=stop_with_parent, args=(stop,), daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        for config in iter(pipe.recv, None):
            pipe.send(execute_run(Run.from_config(config), context, PipeReporter(pipe, stop)))


def fail(run: Run, context: ExecutionContext, reason: str) -> None:
    """Store why a run failed that may not have got as far as its folder."""
    folder = context.runs / run.folder()
    with contextlib.suppress(OSError):  # where nothing can be written, the outcome says it
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CONFIG).exists():
            write_json(folder / CONFIG, run.config())
        write_failure(folder, reason)


def stop_with_parent(stop: Event) -> None:
    """Once the parent process has died, ask the run to save its state and stop; end the process soon in any case."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    threading.Timer(ORPHAN_TIMEOUT_S, os._exit, (1,)).start()
    stop.set()


def ignore_stop_signals() -> None:
    """Ignore the stop signals in this process, but not in processes that a method forks and wants to terminate."""
    for number in STOP_SIGNALS[:2]:
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # nobody terminates a process with this one: children ignore it too
    os.register_at_fork(after_in_child=lambda: [signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS[:2]])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def execute_run(run: Run, context: ExecutionContext, reporter: PipeReporter) -> tuple[str, Any]:
    """Execute a run; returns the message to the parent.

    It is ``done`` with the record as JSON, ``failed`` or ``busy`` with the reason, ``broken`` with the reason if this
    process is not fit for another run, or ``stopped`` with None.
    """
    from protocols.runner import execute
    from protocols.spec.resolve import load_plugins

    folder = context.runs / run.folder()
    try:
        load_plugins(run)
        return "done", execute(run, context, reporter).to_json()
    except KeyboardInterrupt:
        return "stopped", None
    except RequestError as error:
        fail(run, context, str(error))
        return "failed", str(error)
    except Busy as failure:
        return "busy", failure.message
    except RunFailed as failure:
        if reporter.stop.wait(STOP_EVENT_TIMEOUT_S):
            # The signal that stops the command also ends the helper processes of a method, before the stop event is
            # set. A run that fails for lack of its helpers was stopped; it did not fail.
            (folder / FAILURE).unlink(missing_ok=True)
            return "stopped", None
        return "broken" if failure.needs_new_process else "failed", failure.message
