"""What the frames need of every run, cached in one file so that unchanged runs are not read again.

The index is derived: delete it whenever you like. An entry is used only while the stamps of the run's files (time,
size, inode) are unchanged, and the whole index is rebuilt when it is damaged or of another version. It is written
atomically; where the folder cannot be written, every run is read instead.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from results.errors import DamagedFile
from results.store import CONFIG, FAILURE, RECORD, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from results.record import JsonDict

INDEX = ".index.json"
"""Its name in the runs folder."""

FILES = (CONFIG, RECORD, FAILURE)
"""The files of a run that a summary depends on."""


def summaries(runs: Path, summarize: Callable[[Path], JsonDict], version: int) -> dict[str, JsonDict]:
    """A summary of every run below a folder, by the name of its folder and in that order.

    Args:
        runs: the runs folder.
        summarize: reads a run's folder; its result must be plain JSON and depend on ``FILES`` only.
        version: of ``summarize``; an index of another version is not used.

    Raises:
        OSError: the runs folder cannot be read.
    """
    with os.scandir(runs) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    known = read_index(runs / INDEX, version)
    found = {}
    for name in names:
        stamps = [stamp(f"{runs}/{name}/{file}") for file in FILES]
        if not stamps[0]:
            continue  # without a configuration it is no run
        entry = known.get(name)
        if entry is None or entry["stamp"] != stamps:
            # Stamped before reading: what changes meanwhile is read again next time.
            entry = {"stamp": stamps, "summary": summarize(runs / name)}
        found[name] = entry
    if found != known:
        write_index(runs / INDEX, {"version": version, "entries": found})
    return {name: entry["summary"] for name, entry in found.items()}


def stamp(path: str) -> list[int]:
    """Time of change in ns, size and inode of a file; empty if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called 30,000 times
    except OSError:
        return [-1] if os.path.islink(path) else []  # noqa: PTH114 - as above; a link to nothing is damage, not absence
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def read_index(path: Path, version: int) -> dict[str, JsonDict]:
    """The entries of an index; none if it is missing, damaged or of another version."""
    try:
        index = read_json(path) or {}
        entries: dict[str, Any] = index["entries"] if index.get("version") == version else {}
        return {name: entry for name, entry in entries.items() if {"stamp", "summary"} <= set(entry)}
    except (DamagedFile, KeyError, TypeError, AttributeError):
        return {}


def write_index(path: Path, index: JsonDict) -> None:
    """Store an index, unless the folder cannot be written: it only saves time."""
    with contextlib.suppress(OSError):
        write_json(path, index, indent=None)
