"""What a job does on its node: carries out the runs of its task, and has itself started again where that helps.

A job is asked to leave by a signal: USR2 ahead of its time limit, TERM when it is preempted or cancelled. Only the
job's first process listens. It lets the runs keep their state, and then looks whether SLURM has already decided what
becomes of the job. If not, the job is requeued through submitit, unless whole time limits go by without anything to
carry on from.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from protocols.spec.execution import available_cores
from protocols.spec.resolve import missing_evaluations
from protocols.spec.run import Run
from protocols.system.progress import ProgressListener
from results import store
from results.errors import BenchError
from slurm.launch import Monitor
from slurm.pool import pool
from slurm.queue import NoAnswer, call
from slurm.snapshot import digest_of_code
from slurm.submission import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.launch import Outcome
    from slurm.submission import Submission

PATIENCE = 20.0
"""Seconds that a run gets to keep its state; SLURM kills what is left after 30 by default."""

NO_PROGRESS = "no progress"
"""Begins the reason of a run that is not started again."""

KEPT = (store.RECORD, store.BACKBONE, store.CHECKPOINT, f"{store.EVALUATIONS}/*.json")
"""What a run can carry on from."""


@dataclass(frozen=True)
class Task:
    """One job's work, in the few bytes that are sent to it.

    Attributes:
        folder: of the submission.
        number: of the task.
    """

    folder: str
    number: int

    def __call__(self) -> str:
        """Carry out the task's runs; returns how many of them are done."""
        return Attempt(read(Path(self.folder)), self.number).carry_out()

    def checkpoint(self) -> Any:
        """What a requeued job begins with: the same, since each run's state is in its own folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class Log(Monitor, ProgressListener):
    """Prints how runs get on, and hears the signals that ask the job to leave.

    Attributes:
        asked: name of the signal that came; empty until one does.
    """

    asked: str = ""

    def listen(self) -> Any:
        """Take the signals over from submitit; returns its handler, which requeues the job."""
        requeue = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._note)
        return requeue

    def _note(self, number: int, _frame: object) -> None:
        self.asked = signal.Signals(number).name

    def begins(self, run: Run) -> ProgressListener:
        """Say which run begins."""
        say(f"begins {run.folder()}")
        return self

    def ends(self, outcome: Outcome) -> None:
        """Say how it ended."""
        say(f"{'done' if outcome.record else 'failed'}   {outcome.run.folder()} {outcome.reason}".rstrip())

    def warn(self, text: str) -> None:
        """Say it."""
        say(f"warns: {text}")

    def stopping(self) -> bool:
        """Whether a signal came."""
        return bool(self.asked)


@dataclass
class Attempt:
    """One start of a task.

    Attributes:
        submission: it belongs to.
        number: of the task.
        log: of the attempt.
    """

    submission: Submission
    number: int
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.array = self.submission.array_of(self.number)
        self.folders = [Path(self.submission.runs) / name for name in self.submission.tasks[self.number]]
        self.before = self.kept()

    def carry_out(self) -> str:
        """Carry out what is left of the task's runs.

        Returns:
            How many of its runs are done.

        Raises:
            SystemExit: some are not.
        """
        requeue = self.log.listen()
        sys.argv[:] = self.submission.command.split()
        say(f"task {self.number} on {socket.gethostname()}, restart {os.environ.get('SLURM_RESTART_COUNT', '0')}")
        context, runs = self.submission.context, list(self.left())
        contexts = places_for(context, len(runs), every=False, per_gpu=self.array.per_gpu)
        try:
            threads = max(1, available_cores() // max(1, len(contexts)))
            for _ in pool(runs, contexts, self.log, threads=threads, patience=PATIENCE):
                pass
        except KeyboardInterrupt:
            self.leave(requeue)
        return self.end()

    def left(self) -> Iterator[Run]:
        """The runs that are neither done nor failed in this submission; what cannot be run is noted as failed."""
        changed = digest_of_code(Path(self.submission.root)) != self.submission.code
        for folder in self.folders:
            stored = store.read_run(folder)
            if stored.failure and stored.failure["time"] >= self.submission.created:
                continue
            try:
                run = Run.from_config(stored.config or {})
            except BenchError as error:
                store.write_failure(folder, f"its configuration cannot be read: {error}")
                continue
            if stored.record and not missing_evaluations(run, stored.record):
                continue
            if changed:
                store.write_failure(folder, "the code was changed after the submission; submit again")
                continue
            yield run

    def leave(self, requeue: Any) -> NoReturn:
        """End the job early: requeued, unless SLURM ends it anyway or nothing came of its time.

        Raises:
            SystemExit: always.
        """
        say(f"leaves: {self.log.asked}")
        if state_of_this_job() == "RUNNING":
            if self.got_on():
                requeue(signal.SIGUSR2, None)
            self.give_up()
        raise SystemExit(1)

    def got_on(self) -> bool:
        """Whether it is worth while to start again.

        It is if there is more to carry on from than before, and if little time has passed. Once, when caches are cold,
        a whole time limit may go by without either.
        """
        stuck = self.submission.folder / f"stuck-{self.number}"
        if self.kept() != self.before:
            stuck.unlink(missing_ok=True)
            return True
        if time.monotonic() - self.began < self.array.minutes * 60 / 2:
            return True
        gave_up = stuck.exists()
        stuck.touch()
        return not gave_up

    def give_up(self) -> None:
        """Note why the task is not started again."""
        for folder in self.folders:
            if store.read_run(folder).status == "unfinished":
                reason = f"{NO_PROGRESS} in two whole time limits of {self.array.minutes} min"
                store.write_failure(folder, reason)

    def kept(self) -> set[tuple[str, int]]:
        """What the runs have stored to carry on from: paths and times of change."""
        paths = (path for folder in self.folders for pattern in KEPT for path in folder.glob(pattern))
        return {(str(path), path.stat().st_mtime_ns) for path in paths}

    def end(self) -> str:
        """Tidy up if all runs are done.

        Raises:
            SystemExit: some are not, so that SLURM too counts the job as failed.
        """
        done = sum(store.read_run(folder).status == "done" for folder in self.folders)
        if done < len(self.folders):
            raise SystemExit(1)
        atexit.register(remove_pickles)
        return f"{done} done"


def say(text: str) -> None:
    """Print a line to the job's log, with the time."""
    sys.stdout.write(f"{store.now()} bench: {text}\n")
    sys.stdout.flush()


def state_of_this_job() -> str:
    """What SLURM counts this job as; ``RUNNING`` as long as nobody has ended or requeued it."""
    try:
        return call("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%T").strip()
    except NoAnswer as error:
        say(f"squeue gave no answer: {error}")
        return "RUNNING"


def remove_pickles() -> None:
    """Remove what submitit needed to start the job and to tell how it ended."""
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.unlink(missing_ok=True)
