"""The work of a SLURM job: execute the runs of a task, and requeue the job where that helps.

SLURM asks a job to stop by a signal: USR2 before its time limit, TERM when it is preempted or cancelled. Only the first
process of the job handles these signals. It lets the runs save their state and then asks SLURM for the state of the
job. If SLURM has not already ended or requeued it, the job is requeued through submitit, unless its runs have made no
progress in two whole time limits.
"""

from __future__ import annotations

import atexit
import contextlib
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
from results.printable import accept_every_character
from slurm.launch import worker_contexts
from slurm.monitor import Monitor
from slurm.pool import run_pool
from slurm.queue import SlurmCommandError, run_command
from slurm.snapshot import code_digest
from slurm.submission import NO_PROGRESS, read_submission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from protocols.pretrain.launched import LaunchedRank
    from protocols.spec.execution import ExecutionContext
    from slurm.monitor import Outcome
    from slurm.submission import Submission

JOB_STOP_TIMEOUT_S = 20.0
"""Time that runs have to save their state; by default SLURM kills a job 30 s after the signal."""

RESUME_FILES = (store.RECORD, store.BACKBONE, store.CHECKPOINT, f"{store.EVALUATIONS}/*.json")
"""Files in a run's folder that the run resumes from; a new or changed one is progress."""


@dataclass(frozen=True)
class ArrayTask:
    """The function that submitit pickles and calls in the job.

    Attributes:
        folder: of the submission.
        index: of the task.
    """

    folder: str
    index: int

    def __call__(self) -> str:
        """Execute the runs of the task; returns how many of them are done."""
        return TaskAttempt(read_submission(Path(self.folder)), self.index).execute()

    def checkpoint(self) -> Any:
        """The function that a requeued job calls: the same one, since runs resume from their own folders."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class JobMonitor(Monitor, ProgressListener):
    """Prints the start and end of runs, and stops them when the job receives a stop signal.

    Attributes:
        stop_signal: name of the signal received; empty if none was.
    """

    stop_signal: str = ""

    def install_signal_handlers(self) -> Any:
        """Replace submitit's signal handlers; returns the one that requeues the job."""
        requeue = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._handle_signal)
        return requeue

    def _handle_signal(self, number: int, _frame: object) -> None:
        self.stop_signal = signal.Signals(number).name

    def on_run_start(self, run: Run) -> ProgressListener:
        """Print the name of the run."""
        print_log_line(f"started {run.folder()}")
        return self

    def on_run_end(self, outcome: Outcome) -> None:
        """Print the result of the run."""
        status = "done" if outcome.record else "failed"
        print_log_line(f"{status:7} {outcome.run.folder()} {outcome.reason}".rstrip())

    def warn(self, text: str) -> None:
        """Print the warning."""
        print_log_line(f"warning: {text}")

    def stopping(self) -> bool:
        """Whether a stop signal was received."""
        return bool(self.stop_signal)


@dataclass
class TaskAttempt:
    """One start of a task; a job that is requeued makes several.

    Attributes:
        submission: that the task belongs to.
        index: of the task.
        monitor: receives the progress of the runs, and the job's signals.
    """

    submission: Submission
    index: int
    monitor: JobMonitor = field(default_factory=JobMonitor)

    def __post_init__(self) -> None:
        self.start_time = time.monotonic()
        self.array = self.submission.array_of(self.index)
        self.folders = [Path(self.submission.runs) / name for name in self.submission.tasks[self.index]]
        self.files_at_start = self.resume_files()

    def execute(self) -> str:
        """Execute the remaining runs of the task; returns how many runs of the task are done.

        Raises:
            SystemExit: some runs are not done; SLURM then counts the job as failed.
        """
        accept_every_character()
        context = self.submission.context_of(self.index)
        this = self.launched_rank(context)
        if this and this.rank:
            return self.follow_leader(this)
        requeue = self.monitor.install_signal_handlers()
        sys.argv[:] = self.submission.command.split()
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        print_log_line(f"task {self.index} on {socket.gethostname()}, restart {restarts}")
        runs = list(self.remaining_runs())
        contexts = worker_contexts(context, len(runs), oversubscribe=False, per_gpu=self.array.per_gpu)
        threads = this.threads if this else max(1, available_cores() // max(1, len(contexts)))
        try:
            with self.leading(this):
                for _ in run_pool(runs, contexts, self.monitor, threads=threads, stop_timeout_s=JOB_STOP_TIMEOUT_S):
                    pass
        except KeyboardInterrupt:
            self.stop_job(requeue)
        if this and any(store.read_run(folder).status == "unfinished" for folder in self.folders):
            self.monitor.stop_signal = "a node does not respond"
            self.stop_job(requeue)
        done = sum(store.read_run(folder).status == "done" for folder in self.folders)
        if done < len(self.folders):
            raise SystemExit(1)
        atexit.register(remove_pickles)
        return f"{done} done"

    def launched_rank(self, context: ExecutionContext) -> LaunchedRank | None:
        """This process as one of the ranks that srun has started on several nodes; None if the job has one node.

        Raises:
            BenchError: srun has started another number of processes.
        """
        if not context.launched:
            return None
        from protocols.pretrain.launched import launched_by_srun

        this = launched_by_srun()
        if this is None or this.ranks != context.ranks:
            raise BenchError(f"srun has started {this.ranks if this else 1} tasks, not {context.ranks}")
        return this

    @staticmethod
    def leading(this: LaunchedRank | None) -> AbstractContextManager[None]:
        """What rank 0 of a job of several nodes executes its runs in."""
        if this is None:
            return contextlib.nullcontext()
        from protocols.pretrain.launched import lead

        return lead(this)

    def follow_leader(self, this: LaunchedRank) -> str:
        """What a rank above 0 does in a job of several nodes: its part of the runs of rank 0."""
        from protocols.pretrain.launched import serve_orders
        from protocols.pretrain.worker import run_follower

        print_log_line(f"task {self.index}, rank {this.rank} on {socket.gethostname()}")
        atexit.register(remove_result)
        serve_orders(this, run_follower)
        return "followed"

    def remaining_runs(self) -> Iterator[Run]:
        """The runs that are neither done nor failed in this submission; those that cannot run are marked as failed."""
        code_changed = code_digest(Path(self.submission.root)) != self.submission.code
        for folder in self.folders:
            stored = store.read_run(folder)
            if stored.failure and stored.failure["time"] >= self.submission.created:
                continue
            try:
                run = Run.from_config(store.read_config(folder))
            except BenchError as error:
                store.write_failure(folder, f"its configuration cannot be read: {error}")
                continue
            if stored.record and not missing_evaluations(run, stored.record):
                continue
            if code_changed:
                store.write_failure(folder, "the code was changed after the submission; submit again")
                continue
            yield run

    def stop_job(self, requeue: Any) -> NoReturn:
        """End the job early, and requeue it unless SLURM ends or requeues it anyway or it makes no progress.

        Args:
            requeue: submitit's signal handler, which requeues the job.

        Raises:
            SystemExit: always.
        """
        print_log_line(f"stopping: {self.monitor.stop_signal}")
        if current_job_state() == "RUNNING":
            if self.should_requeue():
                requeue(signal.SIGUSR2, None)
            for folder in self.folders:
                if store.read_run(folder).status == "unfinished":
                    reason = f"{NO_PROGRESS} in two whole time limits of {self.array.minutes} min"
                    store.write_failure(folder, reason)
        raise SystemExit(1)

    def should_requeue(self) -> bool:
        """Whether to start the job again: after progress, after less than half a time limit, or once without progress.

        Without progress it is started once more because the first attempt may have spent its time on cold caches.
        """
        no_progress_marker = self.submission.folder / f"stuck-{self.index}"
        if self.made_progress():
            no_progress_marker.unlink(missing_ok=True)
            return True
        if time.monotonic() - self.start_time < self.array.minutes * 60 / 2:
            return True
        no_progress_before = no_progress_marker.exists()
        no_progress_marker.touch()
        return not no_progress_before

    def made_progress(self) -> bool:
        """Whether a run has stored anything to resume from since the start of this attempt."""
        return self.resume_files() != self.files_at_start

    def resume_files(self) -> set[tuple[str, int]]:
        """Paths and modification times of the files that the runs can resume from."""
        paths = (path for folder in self.folders for pattern in RESUME_FILES for path in folder.glob(pattern))
        return {(str(path), path.stat().st_mtime_ns) for path in paths}


def print_log_line(text: str) -> None:
    """Print a line with the time to the log of the job."""
    sys.stdout.write(f"{store.now()} bench: {text}\n")
    sys.stdout.flush()


def current_job_state() -> str:
    """SLURM's state of this job; ``RUNNING`` unless it was ended or requeued, or if SLURM does not respond."""
    try:
        return run_command("squeue", "-h", "-j", os.environ.get("SLURM_JOB_ID", ""), "-o", "%T").strip()
    except SlurmCommandError as error:
        print_log_line(f"squeue failed: {error}")
        return "RUNNING"


def remove_result() -> None:
    """Remove the file in which submitit returns the result of this process."""
    from submitit import JobEnvironment

    JobEnvironment().paths.result_pickle.unlink(missing_ok=True)


def remove_pickles() -> None:
    """Remove the files by which submitit starts a job and returns its result."""
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.unlink(missing_ok=True)
