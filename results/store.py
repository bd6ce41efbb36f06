"""The runs folder: one folder per run, one writer per folder, every file written completely or not at all.

A run's folder::

    config.json         the resolved run; written first, never changed
    attempts.jsonl      one line per attempt: when it was started, and by which code
    claim.json          the process that is running it
    heartbeat.json      its progress
    checkpoint.pt       the state of pretraining, to resume it; removed once the run is done
    backbone.pt         the pretrained weights
    keepsakes.pt        extra state of the method that a refinement needs, if any
    evaluations/*.json  one file per finished evaluation
    evaluations/*.png   pictures of an evaluation or a refinement
    evaluations/*.npz   graphs of refinements: neighbours of training and test images, int32
    record.json         everything measured; written last: a run with a record is done
    failure.json        why the last attempt failed; removed once the run is done
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from results.errors import Busy, RequestError, RunFailed
from results.record import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

CONFIG = "config.json"
ATTEMPTS = "attempts.jsonl"
CLAIM = "claim.json"
HEARTBEAT = "heartbeat.json"
CHECKPOINT = "checkpoint.pt"
BACKBONE = "backbone.pt"
EXTRA_STATE = "keepsakes.pt"
EVALUATIONS = "evaluations"
RECORD = "record.json"
FAILURE = "failure.json"

HEARTBEAT_TIMEOUT_S = 600.0
"""Seconds without a heartbeat after which the claim of another machine counts as abandoned."""

Status = Literal["done", "failed", "unfinished", "unreadable"]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Make a file appear under ``path`` completely or not at all, even if the process is killed.

    Args:
        path: of the file; an older one is replaced.
        write: writes the content to the path it is given.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: sorted keys, no NaN, a newline at the end."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is no such file.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_lines(path: Path) -> list[Any]:
    """The lines of a JSON lines file, none if there is no file; None for a line that a crash cut off."""

    def parsed(line: str) -> Any:
        with contextlib.suppress(ValueError):
            return json.loads(line)
        return None

    try:
        return [parsed(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_failure(folder: Path, reason: str, trace: str = "") -> None:
    """Store why a run failed."""
    write_json(folder / FAILURE, {"reason": reason, "traceback": trace, "time": now()})


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files that killed writers left behind."""
    for path in folder.rglob(".*.*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Be the only writer of a run's folder, which is made if need be.

    Raises:
        Busy: another process is running it.
        RunFailed: the folder cannot be written.
    """
    claim = folder / CLAIM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        take_claim(claim)
    except OSError as error:
        raise RunFailed(f"cannot write to {folder}: {error.strerror}") from error
    remove_temporary_files(folder)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)


def take_claim(claim: Path) -> None:
    """Create the claim file, or replace one whose owner is gone.

    Raises:
        Busy: its owner is running.
    """
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid()), **slurm_job()}
    for _ in range(2):
        try:
            with claim.open("x", encoding="utf-8") as file:
                json.dump(owner, file)
        except FileExistsError:
            if not is_abandoned(claim):
                raise Busy(f"{claim.parent.name} is being run by another process") from None
            claim.unlink(missing_ok=True)
        else:
            return
    raise Busy(f"{claim.parent.name} has just been taken by another process")


def is_abandoned(claim: Path) -> bool:
    """Whether the process that made a claim is gone."""
    try:
        owner = json.loads(claim.read_text(encoding="utf-8"))
        host, pid, started = owner["host"], owner["pid"], owner["started"]
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return seconds_since_written(claim) > 1.0
    job = slurm_job()
    if job["job"] and owner.get("job") == job["job"] and owner["restart"] < job["restart"]:
        return True
    if host == socket.gethostname():
        return bool(process_start(pid) != started)
    return min(seconds_since_written(claim), seconds_since_written(claim.with_name(HEARTBEAT))) > HEARTBEAT_TIMEOUT_S


def slurm_job() -> dict[str, Any]:
    """The SLURM job of this process, if any, and how often it was restarted."""
    single, array = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else single
    return {"job": job, "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0"))}


def release(folder: Path, live: Container[str]) -> None:
    """Remove the claim that a SLURM job left in a run's folder, unless the job is one of the ``live`` ones."""
    claim = folder / CLAIM
    try:
        job = json.loads(claim.read_text(encoding="utf-8")).get("job")
    except (OSError, ValueError, AttributeError):
        return
    if job and job not in live:
        claim.unlink(missing_ok=True)


def seconds_since_written(path: Path) -> float:
    """Seconds since a file was written; infinite if there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def process_start(pid: int) -> str:
    """When a process on this machine started, in clock ticks; empty if there is none, ``alive`` if unknown."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - no path of ours
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return "" if not is_alive(pid) else "alive"


def is_alive(pid: int) -> bool:
    """Whether a process with this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True)
class Stored:
    """The content of a run's folder.

    Attributes:
        folder: the folder.
        status: ``unreadable`` when a file of it is damaged.
        config: the resolved run; None if unreadable.
        record: what was measured, when done.
        failure: why it failed, when failed.
        problem: why it is unreadable.
    """

    folder: Path
    status: Status
    config: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    problem: str = ""


def read_run(folder: Path) -> Stored:
    """Read one run's folder; never raises for what is damaged in it."""
    try:
        config, record, failure = (read_json(folder / name) for name in (CONFIG, RECORD, FAILURE))
        if not isinstance(config, dict):
            return Stored(folder, "unreadable", problem=f"no {CONFIG}")
        if record is not None:
            if record["schema"] > SCHEMA:
                return Stored(folder, "unreadable", config, problem="written by a newer bench")
            return Stored(folder, "done", config, record)
        status: Status = "failed" if failure is not None else "unfinished"
        return Stored(folder, status, config, failure=failure)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return Stored(folder, "unreadable", problem=f"{type(error).__name__}: {error}")


def read_runs(runs: Path) -> list[Stored]:
    """Read every run below a folder, in the order of their names; other folders are passed over."""
    folders = sorted(path.parent for path in runs.glob(f"*/{CONFIG}"))
    return [read_run(folder) for folder in folders]


def require_writable(runs: Path) -> None:
    """Check that runs can be stored in this folder, which is made if need be.

    Raises:
        RequestError: they cannot.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
        write_atomically(runs / "writable", lambda temporary: temporary.touch())
        (runs / "writable").unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {runs}: {error.strerror}", hint="choose another --runs DIR") from error


def discard(folder: Path) -> None:
    """Remove everything but the configuration from a run's folder.

    Raises:
        Busy: another process is running it.
    """
    if folder.exists():
        with claimed(folder):
            shutil.rmtree(folder / EVALUATIONS, ignore_errors=True)
            for name in (RECORD, BACKBONE, EXTRA_STATE, CHECKPOINT, FAILURE, HEARTBEAT, ATTEMPTS):
                (folder / name).unlink(missing_ok=True)
