"""The status of every run in a folder: from its files, its heartbeat, and the state of its SLURM job."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from msgspec import structs

from protocols.spec.execution import signal_name
from results import store
from results.errors import BenchError
from results.index import finished_runs
from results.record import Progress
from results.schema import build
from slurm.queue import PENDING_STATES, RUNNING_STATES, JobInfo, QueryResult, query_jobs
from slurm.submission import NO_PROGRESS, Submission, SubmittedArray, read_submissions
from slurm.units import parse_memory

if TYPE_CHECKING:
    from pathlib import Path

RunState = Literal["done", "running", "queued", "requeued", "failed", "unreadable", "unfinished", "unknown"]
FailureKind = Literal["", "error", "timeout", "memory", "killed", "node", "preempted", "cancelled", "lost"]

RUN_STATES: tuple[RunState, ...] = get_args(RunState)

ACTIVE_RUN_STATES: tuple[RunState, ...] = ("queued", "requeued", "running")

RETRY_KINDS: dict[str, frozenset[FailureKind]] = {
    "failed": frozenset(("error", "memory", "killed", "node", "preempted", "lost")),
    "timeout": frozenset(("timeout",)),
    "all": frozenset(("error", "memory", "killed", "node", "preempted", "lost", "timeout", "cancelled")),
}
"""The kinds of failure that each value of ``bench submit --retry`` submits again."""

RECENT_HEARTBEAT_S = 60.0
"""A run whose job SLURM does not list counts as running if its last heartbeat is younger than this."""


@dataclass(frozen=True)
class SubmittedJob:
    """The job that a run was last submitted in.

    Attributes:
        job: SLURM's job id.
        array: the array that the job belongs to.
        submission: the submission that the array belongs to.
    """

    job: str
    array: SubmittedArray
    submission: Submission


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        run: name of its folder.
        state: ``unfinished`` is a run that was interrupted and that no job will resume, ``unreadable`` one of which a
            file is damaged.
        reason: why it is in this state.
        remedy: what to do about it.
        kind: kind of failure; empty if it has not failed, or cannot be submitted again for want of its configuration.
        job: SLURM's job id; empty if no job executes or executed it.
        log: path of the job's output; empty if there is none.
        heartbeat: the last heartbeat; empty unless it is running.
    """

    run: str
    state: RunState
    reason: str = ""
    remedy: str = ""
    kind: FailureKind = ""
    job: str = ""
    log: str = ""
    heartbeat: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The run in ``bench status --json``, whose keys are a format."""
        return {"beat" if key == "heartbeat" else key: value for key, value in vars(self).items()}


@dataclass(frozen=True)
class StatusOverview:
    """The status of all runs in a folder.

    Attributes:
        runs: status of each run, in the order of their names.
        query_errors: message of each SLURM command that failed, by the name of the command.
    """

    runs: list[RunStatus]
    query_errors: dict[str, str]

    def count(self, state: RunState) -> int:
        """Number of runs in a state."""
        return sum(run.state == state for run in self.runs)

    def active_jobs(self) -> set[str]:
        """The jobs that are queued or running."""
        return {run.job for run in self.runs if run.job and run.state in ACTIVE_RUN_STATES}

    def active_runs(self) -> list[RunStatus]:
        """The runs of active jobs that are neither done nor failed, and can be read."""
        jobs = self.active_jobs()
        return [run for run in self.runs if run.job in jobs and run.state not in ("done", "failed", "unreadable")]

    def may_change(self) -> bool:
        """Whether a run is queued or running, or may be."""
        return any(run.state in (*ACTIVE_RUN_STATES, "unknown") for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """The content of ``bench status --json``, whose keys are a format."""
        counts = {state: self.count(state) for state in RUN_STATES}
        return {"counts": counts, "runs": [run.to_json() for run in self.runs], "silent": self.query_errors}


def read_status(runs: Path) -> StatusOverview:
    """The status of every run in a folder."""
    submitted = {
        name: SubmittedJob(job, array, submission)
        for submission in read_submissions(runs)
        for job, array, names in submission.accepted_jobs()
        for name in names
    }
    # SLURM is queried before the files are read. A run that ends in between then appears in the state that it had a
    # moment ago; the other way round it would look lost.
    query = query_jobs(last.job for name, last in submitted.items() if not is_done_since(runs / name, last.submission))
    found: dict[str, RunStatus] = {}

    def read(folder: Path) -> store.Stored:
        stored = store.read_run(folder)
        found[folder.name] = run_status(stored, submitted.get(folder.name), query)
        return stored

    try:
        finished = finished_runs(runs, read=read)
    except FileNotFoundError:
        return StatusOverview([], query.errors)
    for name, summary in finished.items():
        if name not in found and summary["complete"]:
            found[name] = RunStatus(name, "done")
        elif name not in found:
            read(runs / name)
    return StatusOverview([found[name] for name in sorted(found)], query.errors)


def is_done_since(folder: Path, submission: Submission) -> bool:
    """Whether the record of a run was written after a submission."""
    created = datetime.fromisoformat(submission.created).timestamp()
    try:
        return (folder / store.RECORD).stat().st_mtime >= created
    except FileNotFoundError:
        return False


def run_status(stored: store.Stored, submitted: SubmittedJob | None, query: QueryResult) -> RunStatus:
    """The status of one run.

    Args:
        stored: what its folder contains.
        submitted: its last job; None if it was never submitted.
        query: SLURM's answer about all jobs.
    """
    name, claim = stored.folder.name, stored.folder / store.CLAIM
    if stored.status == "unreadable":
        return RunStatus(name, "unreadable", stored.problem, stored.remedy, "error" if stored.config else "")
    if stored.record and stored.config and store.measures_all(stored.record, stored.config):
        return RunStatus(name, "done")
    if submitted:
        return submitted_run_status(stored, submitted, query)
    if claim.exists() and not store.is_abandoned(claim):
        heartbeat, problem = read_heartbeat(stored.folder)
        return RunStatus(name, "running", problem, heartbeat=heartbeat)
    if stored.failure:
        return RunStatus(name, "failed", stored.failure["reason"], f"see: bench show {name[-8:]}", "error")
    return RunStatus(name, "unfinished", "interrupted", "the same bench run or bench submit resumes it")


def submitted_run_status(stored: store.Stored, submitted: SubmittedJob, query: QueryResult) -> RunStatus:
    """The status of a run that was submitted and is not done."""
    folder, created = stored.folder, submitted.submission.created
    state: RunState = "failed"
    kind: FailureKind = ""
    reason = remedy = ""
    problems = list[str]()
    job, heartbeat_age = query.jobs.get(submitted.job), store.seconds_since_written(folder / store.HEARTBEAT)
    if stored.failure and stored.failure["time"] >= created:
        kind, reason, remedy = diagnose_stored_failure(folder.name, stored.failure["reason"], submitted, job)
    elif job and job.state in PENDING_STATES:
        started = any(attempt["started"] >= created for attempt in store.read_attempts(folder, problems.append))
        state, reason = "requeued" if started else "queued", job.reason
    elif job and job.state in RUNNING_STATES:
        started = (folder / store.CLAIM).exists()
        state, reason = ("running", "") if started else ("queued", "waits for the other runs of its job")
    elif job is None and ("squeue" in query.errors or heartbeat_age < RECENT_HEARTBEAT_S):
        state, reason = (
            ("running", "") if heartbeat_age < store.HEARTBEAT_TIMEOUT_S else ("unknown", "SLURM does not respond")
        )
    else:
        kind, reason, remedy = diagnose_ended_job(submitted, job)
    log = submitted.submission.log_path(submitted.job)
    heartbeat, problem = read_heartbeat(folder) if state == "running" else ({}, "")
    problems.append(problem)
    return RunStatus(
        folder.name,
        state,
        "; ".join(filter(None, (reason, *problems))),
        remedy,
        kind,
        submitted.job,
        str(log) if log.exists() else "",
        heartbeat,
    )


def diagnose_stored_failure(
    name: str, reason: str, submitted: SubmittedJob, job: JobInfo | None
) -> tuple[FailureKind, str, str]:
    """Kind, reason and remedy of a failure whose reason is stored in the run's folder.

    Args:
        name: of the run's folder.
        reason: the stored reason.
        submitted: the run's last job.
        job: what SLURM reports about that job, if anything.
    """
    if "SIGKILL" in reason and job and job.state == "OUT_OF_MEMORY":
        return diagnose_ended_job(submitted, job)
    if reason.startswith(NO_PROGRESS):
        return "timeout", reason, f"try: bench submit --retry timeout --time {2 * submitted.array.minutes}m"
    return "error", reason, f"see: bench show {name[-8:]}"


def diagnose_ended_job(submitted: SubmittedJob, job: JobInfo | None) -> tuple[FailureKind, str, str]:
    """Kind, reason and remedy of the failure of a run whose job ended and that left neither record nor reason.

    Args:
        submitted: the run's last job.
        job: what SLURM reports about that job; None if nothing.
    """
    retry, array = "try: bench submit --retry failed", submitted.array
    if job is None:
        return "lost", "its job has ended, and SLURM has no record of it", retry
    requested = parse_memory(array.mem) if array.mem else 0
    memory_full = bool(requested) and job.peak_memory > 0.95 * requested
    if job.state == "OUT_OF_MEMORY" or (job.signal and memory_full):
        return "memory", *describe_out_of_memory(array, job)
    if job.state == "FAILED" and job.signal:
        return "killed", f"killed by {signal_name(job.signal)}", retry
    more_time = f"try: bench submit --retry timeout --time {2 * array.minutes}m"
    by_state: dict[str, tuple[FailureKind, str, str]] = {
        "TIMEOUT": ("timeout", f"hit its time limit of {array.minutes} min", more_time),
        "DEADLINE": ("timeout", "its deadline passed", more_time),
        "CANCELLED": ("cancelled", "cancelled", "try: bench submit --retry all"),
        "PREEMPTED": ("preempted", "preempted, and not requeued", retry),
        "NODE_FAIL": ("node", "its node failed", retry),
        "BOOT_FAIL": ("node", "its node did not start", retry),
    }
    reason = f"its job ended as {job.state} with exit code {job.exit_code or 'unknown'}"
    return by_state.get(job.state, ("lost", reason, f"see {submitted.submission.log_path(submitted.job)}"))


def describe_out_of_memory(array: SubmittedArray, job: JobInfo) -> tuple[str, str]:
    """The reason, with the memory requested and used in GB, and the remedy, which requests twice as much."""
    requested = parse_memory(array.mem) if array.mem else 0
    amounts = [
        f"asked {requested / 2**30:.2g} GB" if requested else "",
        f"peaked {job.peak_memory / 2**30:.2g} GB" if job.peak_memory else "",
    ]
    reason = f"out of memory: {', '.join(filter(None, amounts))}".rstrip(": ")
    megabytes = -(-2 * max(requested, job.peak_memory) // 2**20)
    amount = f"{-(-megabytes // 1024)}G" if megabytes >= 1024 else f"{megabytes}M"
    return reason, f"try: bench submit --retry failed --mem {amount}" if megabytes else "try more --mem"


def read_heartbeat(folder: Path) -> tuple[dict[str, Any], str]:
    """The last heartbeat of a run, empty if there is none; and what is wrong with its file."""
    try:
        values = store.read_json(folder / store.HEARTBEAT)
        return {} if values is None else structs.asdict(build(Progress, values, store.HEARTBEAT)), ""
    except BenchError as error:
        return {}, error.message
