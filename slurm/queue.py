"""Queries SLURM about jobs: active ones by ``squeue``, ended ones by ``sacct`` where accounting is enabled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.errors import BenchError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PENDING_STATES = frozenset(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"))
RUNNING_STATES = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")
)
ACTIVE_STATES = PENDING_STATES | RUNNING_STATES

FATAL_SIGNALS = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)

COMMAND_TIMEOUT_S = 60
"""Time that a SLURM command has to finish."""


class SlurmCommandError(BenchError):
    """A SLURM command failed; the message is the last line that the command printed to stderr."""


@dataclass(frozen=True)
class JobInfo:
    """What SLURM reports about a job.

    Attributes:
        state: SLURM's name of the state, such as ``RUNNING``.
        reason: why the job is pending.
        exit_code: ``code:signal``.
        peak_memory: in bytes; 0 if unknown.
    """

    state: str
    reason: str = ""
    exit_code: str = ""
    peak_memory: int = 0

    @property
    def signal(self) -> int:
        """Number of the signal that ended the job; 0 if none did.

        srun reports the bare number, or with 128 added as a shell does.
        """
        code, _, number = self.exit_code.partition(":")
        from_code = int(code or 0) % 128
        return int(number or 0) or (from_code if from_code in FATAL_SIGNALS else 0)


@dataclass(frozen=True)
class QueryResult:
    """Answer of SLURM about some jobs.

    Attributes:
        jobs: by job id; jobs that SLURM no longer knows are missing.
        errors: message of each command that failed, by the name of the command.
    """

    jobs: dict[str, JobInfo]
    errors: dict[str, str]


def require_slurm() -> None:
    """Check that this machine can submit to SLURM.

    Raises:
        RequestError: it cannot.
    """
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise RequestError("there is no SLURM on this machine", hint="go to a login node, or use bench run")


def run_command(*words: str) -> str:
    """Run a SLURM command and return what it prints to stdout.

    Raises:
        SlurmCommandError: it failed, is not installed, or timed out.
    """
    try:
        done = subprocess.run(  # noqa: S603
            words, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
    except OSError as error:
        raise SlurmCommandError(f"{words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmCommandError(f"{words[0]} timed out after {COMMAND_TIMEOUT_S} s") from error
    if done.returncode:
        raise SlurmCommandError(last_error_line(done.stderr) or f"{words[0]} failed")
    return done.stdout


def last_error_line(text: str) -> str:
    """The last line of a command's error output, without the prefix ``command: error:``."""
    lines = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]).strip() if lines else ""


def query_jobs(job_ids: Iterable[str]) -> QueryResult:
    """The state of some jobs, by one call of ``squeue`` and one of ``sacct``."""
    wanted, errors = set(job_ids), dict[str, str]()
    jobs: dict[str, JobInfo] = {}
    for name, query in (("squeue", query_squeue), ("sacct", query_sacct)):
        # sacct is not asked about active jobs: of a job that was requeued it reports how the earlier attempt ended.
        remaining = {job for job in wanted if job not in jobs or jobs[job].state not in ACTIVE_STATES}
        try:
            if remaining:
                jobs |= {job: info for job, info in query(remaining).items() if job in remaining}
        except SlurmCommandError as error:
            errors[name] = error.message
    return QueryResult(jobs, errors)


def query_squeue(_job_ids: set[str]) -> dict[str, JobInfo]:
    """All jobs of the user that are pending, running, or ended a short time ago."""
    lines = run_command("squeue", "-r", "-h", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%r").splitlines()
    fields = (line.split("|", 2) for line in lines)
    return {job: JobInfo(state, "" if reason == "None" else reason) for job, state, reason in fields}


def query_sacct(job_ids: set[str]) -> dict[str, JobInfo]:
    """What accounting knows about some jobs; the peak memory is the maximum over the steps of a job."""
    jobs: dict[str, JobInfo] = {}
    ids = ",".join(sorted({job.partition("_")[0] for job in job_ids}))
    for line in run_command("sacct", "-n", "-P", "-j", ids, "-o", "JobID,State,ExitCode,MaxRSS").splitlines():
        name, state, exit_code, memory = line.split("|")
        name, _, step = name.partition(".")
        for job in expand_array_ids(name):
            if not step:
                jobs[job] = JobInfo(state.split()[0], exit_code=exit_code)
            elif job in jobs:
                peak = max(jobs[job].peak_memory, parse_sacct_memory(memory))
                jobs[job] = JobInfo(jobs[job].state, "", jobs[job].exit_code, peak)
    return jobs


def expand_array_ids(name: str) -> Iterator[str]:
    """The job ids that a name such as ``12_[0-3,7%4]`` stands for."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", name)
    if not match:
        yield name
        return
    for span in match[2].split(","):
        first, _, last = span.partition("-")
        yield from (f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1))


def parse_sacct_memory(text: str) -> int:
    """Bytes of an amount of memory as ``sacct`` prints it, such as ``1234K``; 0 if the text is empty."""
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0
