"""How every run of a folder gets on: from its files, from its heartbeat, and from what SLURM says of its job."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from results import store
from slurm.queue import AT_WORK, WAITING, Answer, Job, ask
from slurm.submission import Array, Submission, submissions
from slurm.units import memory
from slurm.worker import NO_PROGRESS

if TYPE_CHECKING:
    from pathlib import Path

Name = Literal["done", "running", "queued", "requeued", "failed", "unfinished", "unknown"]
Kind = Literal["", "error", "timeout", "memory", "killed", "node", "preempted", "cancelled", "lost"]

NAMES: tuple[Name, ...] = get_args(Name)

RETRIES: dict[str, frozenset[Kind]] = {
    "failed": frozenset(("error", "memory", "killed", "node", "preempted", "lost")),
    "timeout": frozenset(("timeout",)),
    "all": frozenset(("error", "memory", "killed", "node", "preempted", "lost", "timeout", "cancelled")),
}
"""What ``bench submit --retry`` submits again."""


FRESH = 60.0
"""Seconds since a run's last heartbeat during which it counts as running, though SLURM may not list its job."""


@dataclass(frozen=True)
class Sent:
    """The job that a run went out in last."""

    job: str
    array: Array
    submission: Submission


@dataclass(frozen=True)
class State:
    """How a run gets on.

    Attributes:
        run: name of its folder.
        state: in a word; ``unfinished`` is a run that was interrupted and that no job holds.
        reason: why it is in that state.
        remedy: what to do about it.
        kind: of failure.
        job: SLURM's id.
        log: what the job prints.
        beat: the run's last heartbeat, while it is running.
    """

    run: str
    state: Name
    reason: str = ""
    remedy: str = ""
    kind: Kind = ""
    job: str = ""
    log: str = ""
    beat: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """How all runs get on.

    Attributes:
        states: of the runs, in the order of their names.
        silent: commands of SLURM that gave no answer, and why.
    """

    states: list[State]
    silent: dict[str, str]

    def count(self, name: Name) -> int:
        """How many runs are in a state."""
        return sum(state.state == name for state in self.states)

    def live(self) -> set[str]:
        """The jobs that are queued or running."""
        return {state.job for state in self.states if state.job and state.state in ("queued", "requeued", "running")}


def overview(runs: Path) -> Overview:
    """How every run below a folder gets on."""
    sent = {
        name: Sent(job, array, submission)
        for submission in submissions(runs)
        for job, array, names in submission.jobs()
        for name in names
    }
    # SLURM is asked first: what happens between the two looks then shows as what it was a moment ago, never as a loss.
    answer = ask(last.job for name, last in sent.items() if not finished_since(runs / name, last))
    stored = store.read_runs(runs)
    return Overview([state_of(one, sent.get(one.folder.name), answer) for one in stored], answer.silent)


def finished_since(folder: Path, sent: Sent) -> bool:
    """Whether a run has got its record after it was sent."""
    created = datetime.fromisoformat(sent.submission.created).timestamp()
    try:
        return (folder / store.RECORD).stat().st_mtime >= created
    except FileNotFoundError:
        return False


def state_of(stored: store.Stored, sent: Sent | None, answer: Answer) -> State:
    """How one run gets on."""
    name = stored.folder.name
    if stored.status == "unreadable":
        return State(name, "failed", f"unreadable: {stored.problem}", "see: bench doctor", "error")
    if is_complete(stored):
        return State(name, "done")
    return submitted(stored, sent, answer) if sent else local_state(stored)


def submitted(stored: store.Stored, sent: Sent, answer: Answer) -> State:
    """How a run gets on that a job holds or held."""
    failed = stored.failure is not None and stored.failure["time"] >= sent.submission.created
    job = answer.jobs.get(sent.job)
    if failed:
        return failure(stored, sent, job or Job(""))
    if job and job.state in WAITING:
        return waiting(stored, sent, job)
    if job and job.state in AT_WORK:
        return at_work(stored, sent)
    heartbeat = stored.folder / store.HEARTBEAT
    if job is None and ("squeue" in answer.silent or store.seconds_since_written(heartbeat) < FRESH):
        return unheard(stored, sent)
    return ended(stored.folder, sent, job)


def is_complete(stored: store.Stored) -> bool:
    """Whether a run has a record of everything that its configuration asks for."""
    if not stored.record or not stored.config:
        return False
    made = stored.record["run"]["evaluations"]
    return all(part in made for part in stored.config["evaluations"])


def local_state(stored: store.Stored) -> State:
    """How a run gets on that no job holds."""
    name, claim = stored.folder.name, stored.folder / store.CLAIM
    if claim.exists() and not store.is_abandoned(claim):
        return State(name, "running", beat=beat_of(stored.folder))
    if stored.failure:
        return State(name, "failed", stored.failure["reason"], f"see: bench show {name[-8:]}", "error")
    return State(name, "unfinished", "interrupted", "the same bench run or bench submit carries on")


def unheard(stored: store.Stored, sent: Sent) -> State:
    """How a run gets on of which SLURM says nothing, by its own files."""
    if store.seconds_since_written(stored.folder / store.HEARTBEAT) < store.HEARTBEAT_TIMEOUT_S:
        return held(stored.folder, "running", sent, beat=True)
    return held(stored.folder, "unknown", sent, "SLURM does not answer")


def waiting(stored: store.Stored, sent: Sent, job: Job) -> State:
    """A run whose job waits, for the first time or again."""
    attempts = store.read_lines(stored.folder / store.ATTEMPTS)
    begun = any(attempt and attempt["started"] >= sent.submission.created for attempt in attempts)
    return held(stored.folder, "requeued" if begun else "queued", sent, job.reason)


def at_work(stored: store.Stored, sent: Sent) -> State:
    """A run whose job is at work: on it, or on another."""
    if (stored.folder / store.CLAIM).exists():
        return held(stored.folder, "running", sent, beat=True)
    return held(stored.folder, "queued", sent, "its turn in the job has not come")


def failure(stored: store.Stored, sent: Sent, job: Job) -> State:
    """A run that left the reason of its failure."""
    assert stored.failure is not None
    folder, reason = stored.folder, stored.failure["reason"]
    if "SIGKILL" in reason and job.state == "OUT_OF_MEMORY":
        return ended(folder, sent, job)
    if reason.startswith(NO_PROGRESS):
        remedy = f"try: bench submit --retry timeout --time {2 * sent.array.minutes}m"
        return held(folder, "failed", sent, reason, remedy=remedy, kind="timeout")
    return held(folder, "failed", sent, reason, remedy=f"see: bench show {folder.name[-8:]}", kind="error")


def ended(folder: Path, sent: Sent, job: Job | None) -> State:
    """A run whose job is over and has left neither a record nor a reason."""
    kind, reason, remedy = (
        ending(sent, job) if job else ("lost", "its job is over, and SLURM keeps no account of it", "")
    )
    return held(folder, "failed", sent, reason, remedy=remedy or "try: bench submit --retry failed", kind=kind)


def ending(sent: Sent, job: Job) -> tuple[Kind, str, str]:
    """What became of a job: the kind of failure, the reason, and a remedy where it takes more than another try."""
    limit = sent.array.minutes
    if job.state == "OUT_OF_MEMORY" or (job.signal and is_full(sent.array, job)):
        return "memory", *out_of_memory(sent.array, job)
    if job.state == "FAILED" and job.signal:
        return "killed", f"killed by {signal_name(job.signal)}", ""
    longer = f"try: bench submit --retry timeout --time {2 * limit}m"
    known: dict[str, tuple[Kind, str, str]] = {
        "TIMEOUT": ("timeout", f"hit its time limit of {limit} min", longer),
        "DEADLINE": ("timeout", "its deadline passed", longer),
        "CANCELLED": ("cancelled", "cancelled", "try: bench submit --retry all"),
        "PREEMPTED": ("preempted", "preempted, and not requeued", ""),
        "NODE_FAIL": ("node", "its node failed", ""),
        "BOOT_FAIL": ("node", "its node did not start", ""),
    }
    code = f"its job ended as {job.state} with exit code {job.exit_code or 'unknown'}"
    return known.get(job.state, ("lost", code, f"see {sent.submission.log_of(sent.job)}"))


def out_of_memory(array: Array, job: Job) -> tuple[str, str]:
    """What was asked and what was used, and how much to ask for."""
    asked = memory(array.mem) if array.mem else 0
    words = [f"asked {gigabytes(asked)} GB" if asked else "", f"peaked {gigabytes(job.peak)} GB" if job.peak else ""]
    reason = f"out of memory: {', '.join(filter(None, words))}".rstrip(": ")
    more = -(-2 * max(asked, job.peak) // 2**20)
    amount = f"{-(-more // 1024)}G" if more >= 1024 else f"{more}M"
    return reason, f"try: bench submit --retry failed --mem {amount}" if more else "try more --mem"


def is_full(array: Array, job: Job) -> bool:
    """Whether a job had used up its memory, as far as accounting saw."""
    return bool(array.mem) and job.peak > 0.95 * memory(array.mem)


def gigabytes(amount: int) -> str:
    """Bytes in GB."""
    return f"{amount / 2**30:.2g}"


def signal_name(number: int) -> str:
    """Its name, as far as it has one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def held(
    folder: Path, state: Name, sent: Sent, reason: str = "", *, remedy: str = "", kind: Kind = "", beat: bool = False
) -> State:
    """The state of a run that a job holds or held; with its heartbeat if it is at work."""
    log = sent.submission.log_of(sent.job)
    told = beat_of(folder) if beat else {}
    return State(folder.name, state, reason, remedy, kind, sent.job, str(log) if log.exists() else "", told)


def beat_of(folder: Path) -> dict[str, Any]:
    """A run's last heartbeat; empty if there is none."""
    try:
        return store.read_json(folder / store.HEARTBEAT) or {}
    except ValueError:
        return {}
