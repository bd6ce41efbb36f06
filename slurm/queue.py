"""What SLURM says of jobs: live ones by ``squeue``, ended ones by ``sacct`` where there is accounting."""

from __future__ import annotations

import getpass
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.errors import BenchError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"))
AT_WORK = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")
)
LIVE = WAITING | AT_WORK

DEADLY = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)

PATIENCE = 60
"""Seconds that a command of SLURM gets to answer."""


class NoAnswer(BenchError):
    """A command of SLURM failed; the message is its own."""


@dataclass(frozen=True)
class Job:
    """What SLURM knows of a job.

    Attributes:
        state: in SLURM's words, without what follows them.
        reason: why it waits.
        exit_code: ``code:signal``.
        peak: bytes of memory used at most; 0 if unknown.
    """

    state: str
    reason: str = ""
    exit_code: str = ""
    peak: int = 0

    @property
    def signal(self) -> int:
        """The signal that ended it; 0 if none did. srun reports it bare, or like a shell, with 128 added."""
        code, _, number = self.exit_code.partition(":")
        bare = int(code or 0) % 128
        return int(number or 0) or (bare if bare in DEADLY else 0)


@dataclass(frozen=True)
class Answer:
    """What SLURM said.

    Attributes:
        jobs: by id; one that is missing is not known to SLURM any more.
        silent: why a command gave no answer, by its name.
    """

    jobs: dict[str, Job]
    silent: dict[str, str]


def require_slurm() -> None:
    """Do nothing if this machine can submit to SLURM.

    Raises:
        RequestError: it cannot.
    """
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise RequestError("there is no SLURM on this machine", hint="go to a login node, or use bench run")


def call(*words: str) -> str:
    """Run a command of SLURM; returns what it prints.

    Raises:
        NoAnswer: it failed, is not there, or took too long.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    except OSError as error:
        raise NoAnswer(f"{words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{words[0]} did not answer for {PATIENCE} s") from error
    if done.returncode:
        raise NoAnswer(last_words(done.stderr) or f"{words[0]} failed")
    return done.stdout


def last_words(text: str) -> str:
    """The last thing a command complained of, without its own name."""
    lines = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]).strip() if lines else ""


def ask(jobs: Iterable[str]) -> Answer:
    """What SLURM knows of some jobs, in two calls for all of them."""
    wanted, silent = set(jobs), dict[str, str]()
    known: dict[str, Job] = {}
    for name, source in (("squeue", from_squeue), ("sacct", from_sacct)):
        # An array that was requeued is live again, while accounting still shows how it ended before.
        left = {job for job in wanted if job not in known or known[job].state not in LIVE}
        try:
            if left:
                known |= {job: state for job, state in source(left).items() if job in left}
        except NoAnswer as error:
            silent[name] = error.message
    return Answer(known, silent)


def from_squeue(_jobs: set[str]) -> dict[str, Job]:
    """The user's jobs that are queued, at work, or ended a moment ago."""
    lines = call("squeue", "-r", "-h", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r").splitlines()
    fields = (line.split("|", 2) for line in lines)
    return {job: Job(state, "" if reason == "None" else reason) for job, state, reason in fields}


def from_sacct(jobs: set[str]) -> dict[str, Job]:
    """What accounting knows of jobs, with the most memory that any of their steps used."""
    known: dict[str, Job] = {}
    ids = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    for line in call("sacct", "-n", "-P", "-j", ids, "-o", "JobID,State,ExitCode,MaxRSS").splitlines():
        name, state, exit_code, peak = line.split("|")
        name, _, step = name.partition(".")
        for job in expanded(name):
            if not step:
                known[job] = Job(state.split()[0], exit_code=exit_code)
            elif job in known:
                known[job] = Job(known[job].state, "", known[job].exit_code, max(known[job].peak, in_bytes(peak)))
    return known


def expanded(name: str) -> Iterator[str]:
    """The jobs that a name such as ``12_[0-3,7%4]`` stands for."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", name)
    if not match:
        yield name
        return
    for span in match[2].split(","):
        first, _, last = span.partition("-")
        yield from (f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1))


def in_bytes(text: str) -> int:
    """An amount of memory as accounting writes it: ``1234K``."""
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0
