"""Digests of the content of image files.

Reading 100,000 files takes as long as it takes, so the digests of a large folder are remembered in one file below
``<root>/prepared``: that of an image counts as long as its size, times and inode stay. A small folder is read every
time. A file that was changed in the last two seconds is not remembered: file systems count time in steps, and another
change in the same step would not be seen.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.execution import available_cores
from results import seal
from results.errors import DamagedFile, DataMissing, ForeignFile
from results.files import LARGEST
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Remembered = Mapping[str, list[Any]]

log = logging.getLogger(__name__)

ENDING = ".digests"
"""Of the files below ``prepared`` that remember digests."""

ALWAYS_READ = 16 * 2**20
"""Bytes of a folder's images up to which its files are read every time."""

SETTLED_NS = 2 * 10**9
"""Nanoseconds after its last change from which on the digest of a file is remembered."""

SILENT_S = 1.0
"""Seconds after which progress is reported."""

FILES_PER_TASK = 256

READ_AT_A_TIME = 2**20

ATTEMPTS = 3
"""How often a file is read that is changed meanwhile."""


def digests_of_files(
    folder: Path, paths: Sequence[str], size: int, memory: Path, report: Callable[[int], None]
) -> list[str]:
    """SHA-256 of the content of files, 32 hexadecimal digits each, computed by several threads.

    Args:
        folder: that holds the files.
        paths: of the files, below the folder.
        size: of all files together, in bytes.
        memory: the file that remembers the digests of the folder, if it is large; it need not exist, and is written
            again if it is damaged, or belongs to another folder.
        report: called with the number of files done, where it takes long.

    Raises:
        DataMissing: a file cannot be read, or is being written.
    """
    is_large = size > ALWAYS_READ
    owner = str(folder.resolve())
    known = read_memory(memory, owner) if is_large else {}
    remembered, digests, start = dict[str, list[Any]](), list[str](), time.monotonic()
    blocks = [paths[start : start + FILES_PER_TASK] for start in range(0, len(paths), FILES_PER_TASK)]
    with ThreadPoolExecutor(min(32, available_cores() + 4)) as pool:
        for block, found in zip(blocks, pool.map(partial(digests_of_block, folder, known=known), blocks), strict=True):
            for path, (stamp, digest, is_settled) in zip(block, found, strict=True):
                digests.append(digest)
                if is_settled:
                    remembered[path] = [*stamp, digest]
            if time.monotonic() - start > SILENT_S:
                report(len(digests))
    if is_large and remembered != known:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(memory, partial(write_memory, owner=owner, digests=remembered))
        except OSError as error:
            log.warning(
                "cannot write to %s (%s): the images of %s are read by every command",
                memory.parent,
                error.strerror,
                folder,
            )
    return digests


def digests_of_block(folder: Path, paths: Sequence[str], known: Remembered) -> list[tuple[list[int], str, bool]]:
    """Stamp and digest of every file, and whether it was last changed long enough ago to be remembered."""
    found = []
    for path in paths:
        try:
            stamp = stamp_of(os.stat(f"{folder}/{path}"))  # noqa: PTH116 - a fifth of the time of a Path
            entry = known.get(path)
            if entry is not None and entry[:-1] == stamp:
                found.append((stamp, str(entry[-1]), True))
            else:
                found.append(read_digest(folder / path))
        except OSError as error:
            raise DataMissing(f"cannot read {folder / path}: {error.strerror}") from error
    return found


def read_digest(path: Path) -> tuple[list[int], str, bool]:
    """Stamp and digest of a file, and whether it was last changed long enough ago to be remembered.

    Raises:
        DataMissing: it is being written.
        OSError: it cannot be read, or is larger than any image.
    """
    for _ in range(ATTEMPTS):
        start, digest = time.time_ns(), hashlib.sha256()
        with path.open("rb") as file:
            before = stamp_of(os.fstat(file.fileno()))
            if before[0] > LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
            while chunk := file.read(READ_AT_A_TIME):
                digest.update(chunk)
            after = stamp_of(os.fstat(file.fileno()))
        if before == after:
            _, modified, changed, _ = after
            return after, digest.hexdigest()[:32], max(modified, changed) < start - SETTLED_NS
    raise DataMissing(f"{path} is being written", hint="repeat the command when its folder is complete")


def stamp_of(status: os.stat_result) -> list[int]:
    """What tells that a file was changed: size, time of the last write and of the last change in ns, and inode."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def read_memory(path: Path, owner: str) -> Remembered:
    """The remembered stamps and digests of a folder, by file; empty if there are none, or they are damaged."""
    if not path.exists():
        return {}
    try:
        seal.check(path, owner, lambda _: False)
        with path.open("rb") as file:
            values: dict[str, list[Any]] = json.loads(file.readline())["files"]
    except (DamagedFile, ForeignFile) as error:
        log.warning("%s; it is written again", error)
        return {}
    except FileNotFoundError:
        return {}
    return values


def write_memory(path: Path, owner: str, digests: Remembered) -> None:
    """Write the stamps and digests of a folder to a sealed file."""
    path.write_text(json.dumps({"folder": owner, "files": digests}) + "\n", encoding="utf-8")
    seal.seal(path, owner)


def folder_of_memory(path: Path) -> Path | None:
    """The folder whose digests a file remembers; None if it cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
        return Path(json.loads(file.readline())["folder"])
    return None
