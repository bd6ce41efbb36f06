"""The launcher that carries out several runs at a time, in worker processes.

A worker lives for many runs, so that it loads a data set once for all of them. If it dies it takes its run with it and
nothing else: that run counts as failed, and a new worker takes the next. Signals that ask the whole command to stop are
for the pool alone to answer: workers hear of them by an event, and whatever processes a method starts, not at all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from protocols.spec.run import Run
from protocols.system.progress import ProgressListener
from results.errors import RequestError, RunFailed
from results.record import Record
from results.store import CONFIG, FAILURE, write_failure, write_json
from slurm.launch import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Event

    from protocols.spec.execution import ExecutionContext
    from slurm.launch import Monitor

PERIOD = 0.2
"""Least seconds between two messages of a worker about its progress."""

PATIENCE = 60.0
"""Seconds that a worker gets to keep its state and leave."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Those that ask a command to stop; USR2 is the one of SLURM jobs."""

GRACE = 1.0
"""Seconds in which a failed run may still turn out to have been stopped."""

processes = multiprocessing.get_context("spawn")


def pool(
    runs: Sequence[Run],
    contexts: Sequence[ExecutionContext],
    monitor: Monitor,
    *,
    threads: int,
    patience: float = PATIENCE,
) -> Iterator[Outcome]:
    """Carry runs out, as many at a time as there are contexts.

    Args:
        runs: to be carried out, begun in this order.
        contexts: one for each worker; they may differ in their device.
        monitor: hears of the runs.
        threads: of each worker.
        patience: seconds that runs get to keep their state when they shall stop; then they are killed.

    Yields:
        How each run ended, as it ends; a run that fails touches no other.

    Raises:
        KeyboardInterrupt: a listener asked to stop; every run has kept its state.
    """
    waiting, deadline = list(reversed(runs)), float("inf")
    with shielded():
        stop = processes.Event()
    workers = [Worker(context, monitor, threads, stop) for context in contexts[: len(runs)]]
    try:
        while waiting or any(worker.run for worker in workers):
            for worker in workers:
                if not worker.run and waiting and not stop.is_set():
                    worker.begin(waiting.pop())
            wait([worker.pipe for worker in workers if worker.run], timeout=PERIOD)
            for worker in workers:
                if outcome := worker.hear():
                    monitor.ends(outcome)
                    yield outcome
            if not stop.is_set() and any(worker.listener.stopping() for worker in workers):
                stop.set()
                deadline = time.monotonic() + patience
            if stop.is_set() and (time.monotonic() > deadline or not any(worker.run for worker in workers)):
                raise KeyboardInterrupt
    finally:
        for worker in workers:
            worker.leave()


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Block the signals that ask a command to stop, also in a process that is started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Worker:
    """A process that carries out one run at a time.

    Attributes:
        context: where.
        monitor: hears of its runs.
        threads: of the process.
        stop: set when it shall keep its state and stop.
        run: what it is at; None when it waits for a run.
        listener: who hears of that run.
        process: the process; None before the first run and after its death.
        pipe: to it.
    """

    context: ExecutionContext
    monitor: Monitor
    threads: int
    stop: Event
    run: Run | None = None
    listener: ProgressListener = field(default_factory=ProgressListener)
    process: BaseProcess | None = None
    pipe: Connection = field(init=False)

    def begin(self, run: Run) -> None:
        """Hand it a run."""
        if self.process is None:
            self._start()
        self.run, self.listener = run, self.monitor.begins(run)
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(run.config())

    def _start(self) -> None:
        self.pipe, theirs = processes.Pipe()
        self.process = processes.Process(target=work, args=(theirs, self.context, self.threads, self.stop))
        with shielded():
            self.process.start()
        theirs.close()

    def hear(self) -> Outcome | None:
        """Pass on what it reports; returns how its run ended, if it did."""
        try:
            while self.run and self.pipe.poll():
                kind, *content = self.pipe.recv()
                if kind in ("stage", "progress", "warn"):
                    getattr(self.listener, kind)(*content)
                else:
                    return self._ended(kind, *content)
        except EOFError:
            return self._died()
        return None

    def _ended(self, kind: str, content: Any = None) -> Outcome | None:
        run, self.run = self.run, None
        assert run is not None
        if kind == "stopped":
            return None
        if kind == "done":
            return Outcome(run, Record.from_json(content))
        return Outcome(run, None, content)

    def _died(self) -> Outcome | None:
        assert self.process is not None
        assert self.run is not None
        self.process.join()
        if self.stop.is_set():
            self.run, self.process = None, None
            return None
        code = self.process.exitcode or 0
        reason = f"its process was killed by {signal.Signals(-code).name}" if code < 0 else "its process died"
        write_failure(self.context.runs / self.run.folder(), reason)
        outcome, self.run, self.process = Outcome(self.run, None, reason), None, None
        return outcome

    def leave(self) -> None:
        """Let the process end."""
        if self.process is not None:
            self.pipe.close()
            self.process.join(0 if self.run else PATIENCE)
            self.process.kill()
            self.process.join()


class Reporter(ProgressListener):
    """A worker's side: passes on what its run tells. A pool that is gone counts as one that asks to stop.

    Args:
        pipe: to the pool.
        stop: set when the run shall stop.
    """

    def __init__(self, pipe: Connection, stop: Event) -> None:
        self.pipe = pipe
        self.stop = stop
        self._told = 0.0

    def _tell(self, *message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            self.stop.set()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Pass on, and whatever comes next."""
        self._told = 0.0
        self._tell("stage", name, total, done)

    def progress(self, done: int, note: str = "") -> None:
        """Pass on, a few times a second at most."""
        if time.monotonic() - self._told >= PERIOD:
            self._told = time.monotonic()
            self._tell("progress", done, note)

    def warn(self, text: str) -> None:
        """Pass on."""
        self._tell("warn", text)

    def stopping(self) -> bool:
        """Whether the pool asked to stop."""
        return self.stop.is_set()


def work(pipe: Connection, context: ExecutionContext, threads: int, stop: Event) -> None:
    """What a worker process does until its pool hangs up."""
    leave_signals_to_the_pool()
    from protocols.system.device import prepare_process

    prepare_process(threads)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(result_of(Run.from_config(pipe.recv()), context, Reporter(pipe, stop)))


def leave_signals_to_the_pool() -> None:
    """Do nothing at a signal, without passing that on to the processes that a method may start and want to end."""
    for number in SIGNALS[:2]:
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # nobody ends a process by this one: it is ignored for good
    os.register_at_fork(after_in_child=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS[:2]])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def result_of(run: Run, context: ExecutionContext, listener: Reporter) -> tuple[str, Any]:
    """Carry a run out; returns the message that says how it ended."""
    from protocols.runner import execute
    from protocols.spec.resolve import load_plugins

    folder = context.runs / run.folder()
    try:
        load_plugins(run)
        return "done", execute(run, context, listener).to_json()
    except KeyboardInterrupt:
        return "stopped", None
    except RequestError as error:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, run.config())
        write_failure(folder, str(error))
        return "failed", str(error)
    except RunFailed as failure:
        if listener.stop.wait(GRACE):
            # The signal that stops the pool ends the helpers of a method before: their end is no failure of the run.
            (folder / FAILURE).unlink(missing_ok=True)
            return "stopped", None
        return "failed", failure.message
