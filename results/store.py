"""The runs folder: one folder per run, one writer per folder, every file written completely or not at all.

A run's folder::

    config.json         the resolved run; written first, never changed
    attempts.jsonl      one line per attempt: when it was started, and by which code
    claim.json          the process that is running it
    claim.lock          held while the claim of a process that is gone is replaced
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
import fcntl
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import structs

from results.errors import BenchError, Busy, DamagedFile, ForeignFile, RequestError, RunFailed
from results.files import read_bytes
from results.record import SCHEMA, Attempt, Failure, Record, StoredRun
from results.schema import build

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

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

EARLIER_IMAGES = "earlier-images.json"
"""In a runs folder: by what earlier versions knew images by, the digest of their content."""

CLAIM_LOCK = "claim.lock"
"""Held while the claim of a process that is gone is replaced."""

WATCH_S = 12.0
"""Seconds for which a silent owner on another machine is watched; heartbeats are written every five."""

CHECKSUM = "sha256"
"""Key of the checksum of a JSON file."""

SEALED = re.compile(rb'^\{\n "%s": "[^"]*",?' % CHECKSUM.encode())
"""The beginning of a JSON file with a checksum."""

CLAIM_WRITTEN_S = 1.0
"""Seconds that a claim of an earlier version may take to be written."""

TEMPORARY = re.compile(r"(?:\.|claim\.json).*\.(?P<processes>[^/]+)\.(?P<pid>\d+)\.[0-9a-f]{8}")
"""Names of the temporary files of :func:`write_atomically` and :func:`take_claim`."""

LEFT_OVER_S = 24 * 3600.0
"""Seconds without a write after which the temporary file of an unknown process counts as left over."""

HEARTBEAT_TIMEOUT_S = 600.0
"""Seconds without a heartbeat after which the claim of another machine counts as abandoned."""

Status = Literal["done", "failed", "unfinished", "unreadable"]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Make a file appear under ``path`` completely or not at all, even if the process is killed.

    Args:
        path: of the file; an older one is replaced.
        write: writes the content to the path it is given.
    """
    temporary = path.with_name(f".{temporary_name(path.name)}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # the system does not name the file that it has no space for
        raise
    finally:
        temporary.unlink(missing_ok=True)
    for earlier in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if is_left_over(earlier):
            earlier.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """A name for the file that shall get a name when it is complete; it tells who is writing it."""
    return f"{name}.{processes_digest()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def processes_digest() -> str:
    """Digest of the machine and the table of processes that the number of this process belongs to."""
    return hashlib.sha256(f"{socket.gethostname()} {process_table()}".encode()).hexdigest()[:8]


def is_left_over(path: Path) -> bool:
    """Whether a file has a temporary name and its writer is gone; that of another machine after a day of silence."""
    name = TEMPORARY.fullmatch(path.name)
    if name is None or path.is_symlink() or not path.is_file():
        return False
    if name["processes"] == processes_digest():
        return not is_alive(int(name["pid"]))
    return seconds_since_written(path) > LEFT_OVER_S


def write_json(path: Path, values: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write a JSON object atomically: sorted keys, no NaN; its first line is the checksum of the others."""
    content = {key: value for key, value in values.items() if key != CHECKSUM}
    text = json.dumps(content, indent=indent, sort_keys=True, allow_nan=False) + "\n"
    sealed = f'{{\n "{CHECKSUM}": "{checksum(text.encode())}"{"," if content else ""}{text[1:]}'
    write_atomically(path, lambda temporary: temporary.write_text(sealed, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is no such file. Files of earlier versions have no checksum.

    Raises:
        DamagedFile: it cannot be read, is not a JSON object, or not the one that was written.
    """
    try:
        content = read_bytes(path)
        values = parse_json(content)
    except FileNotFoundError:
        if path.is_symlink():
            raise DamagedFile(f"{path} is a link to nothing") from None
        return None
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: it is not JSON") from error
    if not isinstance(values, dict):
        raise DamagedFile(f"{path} is damaged: it is not a JSON object")
    stored = values.pop(CHECKSUM, None)
    if stored is None:
        # An altered name of the checksum would make the file look like one of an earlier version.
        if any(is_checksum(value) for key, value in values.items() if key != "fingerprint"):
            raise DamagedFile(f"{path} is damaged: its checksum cannot be read")
    elif (sealed := SEALED.match(content)) is None or stored != checksum(b"{", memoryview(content)[sealed.end() :]):
        raise DamagedFile(
            f"{path} is damaged: its checksum does not match", hint=f"delete its line {CHECKSUM!r} to keep an edit"
        )
    return values


def parse_json(content: bytes) -> Any:
    """The value that a text in JSON stands for, whose numbers are finite.

    Raises:
        ValueError: it is no JSON in UTF-8, or a number is too large.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:  # which halves of surrogate pairs, as file names in other encodings have, are to it
        return json.loads(content.decode(), parse_constant=finite, parse_float=finite)


def finite(text: str) -> float:
    """The finite number that a text stands for.

    Raises:
        ValueError: it is not finite.
    """
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not finite")
    return value


def checksum(*parts: bytes | memoryview) -> str:
    """SHA-256 of a text in one or several parts, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def is_checksum(value: object) -> bool:
    """Whether a value looks like the result of :func:`checksum`."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def read_earlier_images(folder: Path) -> dict[str, Any]:
    """The content of :data:`EARLIER_IMAGES`; empty if there is no such file.

    Raises:
        RequestError: it is damaged.
    """
    try:
        return read_json(folder / EARLIER_IMAGES) or {}
    except DamagedFile as error:
        raise RequestError(
            error.message,
            hint="delete it if the images are still those of the earlier runs; else choose another --runs DIR",
        ) from error


def read_attempts(folder: Path, warn: Callable[[str], object] | None = None) -> list[dict[str, Any]]:
    """The attempts of a run, as :func:`add_attempt` wrote them.

    Args:
        folder: of the run.
        warn: called with a line about what is damaged and left out.
    """
    path, found, damaged = folder / ATTEMPTS, list[dict[str, Any]](), 0
    try:
        lines = read_bytes(path).splitlines()
    except FileNotFoundError:
        lines, damaged = [], int(path.is_symlink())
    except OSError:
        lines, damaged = [], 1
    for line in lines:
        try:
            found.append(structs.asdict(build(Attempt, parse_json(line), "attempt")))
        except (ValueError, RecursionError, BenchError):
            damaged += 1
    if damaged and warn:
        warn(f"{path} is damaged: {damaged} of its lines cannot be read, and their attempts are not counted")
    return found


def add_attempt(folder: Path, code: Mapping[str, Any], warn: Callable[[str], object]) -> None:
    """Add an attempt to those of a run: when it starts, and by which code. What is damaged in the file is left out."""
    path, attempts = folder / ATTEMPTS, [*read_attempts(folder, warn), {"started": now(), **code}]
    if not path.is_file():
        remove(path)
    text = "".join(json.dumps(attempt) + "\n" for attempt in attempts)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove(path: Path) -> None:
    """Remove a file, or whatever lies in its place; nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    for path in folder.glob(f"{CLAIM}.*"):  # of processes that wanted the claim
        if is_left_over(path):
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
        if read_claim(claim) == this_process():  # else another process thought that this one was gone
            claim.unlink(missing_ok=True)


def take_claim(claim: Path) -> None:
    """Create the claim file, or replace one whose owner is gone.

    The file appears with its content, and is replaced in one step by the process that holds the lock beside it. So
    there is always one owner, however many processes try at once.

    Raises:
        Busy: its owner is running.
    """
    unique = claim.with_name(temporary_name(CLAIM))
    unique.write_text(json.dumps(asdict(this_process())), encoding="utf-8")
    taken = Busy(f"{claim.parent.name} has just been taken by another process")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(unique, claim)
            return
        before = modified(claim)
        if not is_abandoned(claim):
            raise Busy(f"{claim.parent.name} is being run by another process")
        with locked(claim.with_name(CLAIM_LOCK)):
            if modified(claim) != before:
                raise taken
            if claim.is_dir() and not claim.is_symlink():
                shutil.rmtree(claim)
            if os.path.lexists(claim):
                unique.replace(claim)
            else:  # others may be creating it
                os.link(unique, claim)
    except FileExistsError:
        raise taken from None
    finally:
        unique.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be, and stays; where files cannot be locked, hold nothing."""
    with path.open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_abandoned(claim: Path) -> bool:
    """Whether the process that made a claim is gone.

    The owner of a claim of this machine is looked up. That of another is gone if it has written nothing for
    :data:`HEARTBEAT_TIMEOUT_S`, and writes nothing now, while it is watched: a clock that was set forward makes
    everything look old.
    """
    owner, here = read_claim(claim), this_process()
    if owner is None:
        # Damaged, or, of an earlier version, just being written.
        time.sleep(min(max(0.0, CLAIM_WRITTEN_S - seconds_since_written(claim)), CLAIM_WRITTEN_S))
        return read_claim(claim) is None
    if here.job and owner.job == here.job and owner.restart < here.restart:
        return True
    if owner.host == here.host and owner.processes in ("", here.processes):
        return bool(process_start(owner.pid) != owner.started)
    files = claim, claim.with_name(HEARTBEAT)
    if min(map(seconds_since_written, files)) <= HEARTBEAT_TIMEOUT_S:
        return False
    before = [modified(path) for path in files]
    time.sleep(WATCH_S)
    return [modified(path) for path in files] == before


def read_claim(claim: Path) -> Owner | None:
    """The owner of a claim; None if it is damaged or gone."""
    try:
        return build(Owner, json.loads(read_bytes(claim)), "claim")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, RequestError):
        return None


@dataclass(frozen=True)
class Owner:
    """The process that made a claim.

    Attributes:
        host: name of its machine.
        pid: its number.
        started: when it started, see :func:`process_start`.
        job: its SLURM job; empty if there is none.
        restart: how often the job was restarted.
        processes: boot of the machine and table of processes that the number belongs to; two containers may have the
            same host name. Empty in claims of earlier versions.
    """

    host: str
    pid: int
    started: str
    job: str = ""
    restart: int = 0
    processes: str = ""


def this_process() -> Owner:
    """This process as the owner of a claim."""
    single, array = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_ARRAY_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else single
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    pid, restart = os.getpid(), int(restarts) if re.fullmatch(r"[0-9]{1,9}", restarts) else 0
    return Owner(socket.gethostname(), pid, process_start(pid), job, restart, process_table())


def process_table() -> str:
    """Boot of the machine and table of processes that the number of this process belongs to; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def clear_finished(folder: Path) -> None:
    """Remove what is left of the execution of a finished run whose process was killed after it wrote the record."""
    if os.path.lexists(folder / CLAIM):
        with contextlib.suppress(Busy, RunFailed), claimed(folder):
            (folder / HEARTBEAT).unlink(missing_ok=True)


def release(folder: Path, live: Container[str]) -> None:
    """Remove the claim that a SLURM job left in a run's folder, unless the job is one of the ``live`` ones."""
    claim = folder / CLAIM
    owner = read_claim(claim)
    if owner is not None and owner.job and owner.job not in live:
        claim.unlink(missing_ok=True)


def modified(path: Path) -> tuple[int, int]:
    """What changes whenever a file is written or replaced: its time of change in ns, and inode; 0 if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def seconds_since_written(path: Path) -> float:
    """Seconds since a file was written; infinite if there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
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
        config: the resolved run; None if that is what is damaged.
        record: what was measured, when done.
        failure: why the last attempt failed, if it did.
        problem: why it is unreadable.
        remedy: what to do about that.
    """

    folder: Path
    status: Status
    config: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    problem: str = ""
    remedy: str = ""


def read_run(folder: Path) -> Stored:
    """Read one run's folder; never raises for what is damaged in it."""
    config = None
    try:
        config = read_config(folder)
        record = read_record(folder, config)
    except BenchError as error:
        failure, remedy = read_failure(folder), remedy_of(error)
        return Stored(folder, "unreadable", config, failure=failure, problem=error.message, remedy=remedy)
    if record is not None:
        return Stored(folder, "done", config, record)
    failure = read_failure(folder)
    return Stored(folder, "failed" if failure is not None else "unfinished", config, failure=failure)


def remedy_of(error: BenchError) -> str:
    """What to do about a run of which a file cannot be read."""
    made_again = "the command that made it makes it again"
    if error.hint and isinstance(error, ForeignFile):  # made again, the newer record would be lost
        return error.hint
    return f"{made_again}, or {error.hint}" if error.hint else made_again


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        DamagedFile: it is missing, damaged, or says something that no run can.
    """
    path = folder / CONFIG
    config = read_json(path)
    if config is None:
        raise DamagedFile(f"{path} is missing")
    with naming(path):
        build(StoredRun, config, "config")
    return config


def read_record(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a run; None if it has none.

    Args:
        folder: of the run.
        config: of the run.

    Raises:
        DamagedFile: it is damaged, or says something that no run can have measured.
        ForeignFile: it was written by a newer version, or for another run.
    """
    path = folder / RECORD
    record = read_json(path)
    if record is None:
        return None
    with naming(path):
        if require_schema(record) > SCHEMA:
            raise ForeignFile(f"{path} was written by a newer bench", hint="update bench")
        measured = Record.from_json(record, config)
    if identifying_part(measured.run) != identifying_part(config):
        raise ForeignFile(f"{path} belongs to another run than {CONFIG}")
    return record


def measures_all(record: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a record has all evaluations that the configuration of its run asks for."""
    wanted, measured = config["evaluations"], record["run"]["evaluations"]
    return wanted == measured or all(evaluation in measured for evaluation in wanted)


def require_schema(record: Mapping[str, Any]) -> int:
    """The version of a record's format.

    Raises:
        ValueError: it has none.
    """
    schema = record.get("schema")
    if type(schema) is not int or record.get("status") != "done":
        raise ValueError("it is no record")
    return schema


def identifying_part(config: Mapping[str, Any]) -> list[Any]:
    """What two configurations of one run have in common, whatever they evaluate."""
    names = [config[part]["name"] for part in ("method", "dataset", "backbone")]
    # The label of a method depends on the protocol that asks for the run, those of the others do not.
    labels = [config[part].get("label") or config[part]["name"] for part in ("dataset", "backbone")]
    return [config.get("fingerprint"), config["protocol"], config["version"], config["seed"], *names, *labels]


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Why the last attempt of a run failed; None if it did not. A damaged file is a failure without a reason."""
    try:
        failure = read_json(folder / FAILURE)
        if failure is None:
            return None
        return structs.asdict(build(Failure, failure, "failure"))
    except BenchError as error:
        return structs.asdict(Failure(f"unknown: {error.message}", time=now()))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn complaints about the content of a file into one that names it.

    Raises:
        DamagedFile: the content is not what a run can have written.
    """
    try:
        yield
    except (RequestError, ValueError) as error:
        why = error.message if isinstance(error, RequestError) else str(error)
        raise DamagedFile(f"{path} is damaged: {why}") from error


def run_folders(runs: Path) -> list[Path]:
    """The folders of all runs below a folder, in the order of their names; damaged ones too, other folders not."""
    try:
        return sorted(path for path in runs.iterdir() if os.path.lexists(path / CONFIG))
    except (FileNotFoundError, NotADirectoryError):
        return []


NO_RUNS_HINT = "make some with bench run, or name their folder with --runs DIR"


def require_runs_folder(runs: Path) -> None:
    """Check that runs can be looked for in a folder.

    Raises:
        RequestError: it is not there, or is itself a run.
    """
    refuse_run_folder(runs)
    if not runs.is_dir():
        raise RequestError(f"no runs folder {runs}", hint=NO_RUNS_HINT)


def refuse_run_folder(runs: Path) -> None:
    """Check that a folder of runs is not the folder of a single one.

    Raises:
        RequestError: it is.
    """
    if os.path.lexists(runs / CONFIG):
        raise RequestError(f"{runs} is itself a run", hint="name the folder above it with --runs DIR")


def read_runs(runs: Path) -> list[Stored]:
    """Read every run below a folder, in the order of their names."""
    return [read_run(folder) for folder in run_folders(runs)]


def require_writable(folder: Path, option: str = "--runs") -> None:
    """Check that files can be written to a folder, which need not exist; nothing is left behind.

    Args:
        folder: of runs, or another.
        option: of the command line that names it.

    Raises:
        RequestError: they cannot.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    missing = folder.absolute().relative_to(existing)
    try:
        with contextlib.ExitStack() as stack:
            if missing.parts:  # the same path is tried in a temporary folder
                existing = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir=existing)))
            (existing / missing).mkdir(parents=True, exist_ok=True)
            file = existing / missing / "writable"
            write_atomically(file, lambda temporary: temporary.touch())
            file.unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(
            f"cannot write to {folder}: {error.strerror}", hint=f"choose another {option} DIR"
        ) from error


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
