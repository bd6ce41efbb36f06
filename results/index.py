"""What a report needs of every run, kept in one file so that unchanged runs are not read again.

The index is derived: delete it whenever you like. It is believed only where the stored stamps of a run's files (time,
size, inode) are still theirs, and is rebuilt when it is damaged, older, or of another making. One reader writes it,
whole or not at all, and goes without it where it cannot.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from results.store import CONFIG, FAILURE, RECORD, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INDEX = ".index.json"
"""Its name in the runs folder."""

FILES = (CONFIG, RECORD, FAILURE)
"""The files of a run that a report depends on."""

Table = dict[str, Any]
Stamp = list[list[int]]


def summaries(runs: Path, summarize: Callable[[Path], Table], version: int) -> dict[str, Table]:
    """A summary of every run below a folder, by its folder's name and in that order.

    Args:
        runs: the runs folder.
        summarize: reads a run's folder; its result must be plain JSON and depend on ``FILES`` only.
        version: of ``summarize``; an index of another version is not used.
    """
    index = runs / INDEX
    known = read_index(index, version)
    entries = {folder.name: refreshed(folder, known.get(folder.name), summarize) for folder in run_folders(runs)}
    if entries != known:
        write_index(index, {"version": version, "entries": entries})
    return {name: entry["summary"] for name, entry in entries.items()}


def run_folders(runs: Path) -> list[Path]:
    """The folders below ``runs`` that hold a run, in the order of their names."""
    with os.scandir(runs) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [runs / name for name in names if os.path.exists(f"{runs}/{name}/{CONFIG}")]  # noqa: PTH110 - three times faster


def refreshed(folder: Path, entry: Table | None, summarize: Callable[[Path], Table]) -> Table:
    """The index's entry of a run: the known one if its files are unchanged, else a new one."""
    stamp = stamp_of(folder)
    if entry is not None and entry["stamp"] == stamp:
        return entry
    # Stamped before reading: what changes meanwhile is read again next time.
    return {"stamp": stamp, "summary": summarize(folder)}


def stamp_of(folder: Path) -> Stamp:
    """Time of change in ns, size and inode of each of a run's files; empty for one that is not there."""
    return [stamp_of_file(f"{folder}/{name}") for name in FILES]


def stamp_of_file(path: str) -> list[int]:
    """See :func:`stamp_of`."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called 30,000 times
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def read_index(path: Path, version: int) -> dict[str, Table]:
    """The entries of an index; none if it is missing, damaged or of another version."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        entries = index["entries"] if index["version"] == version else {}
        return {name: entry for name, entry in entries.items() if {"stamp", "summary"} <= set(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_index(path: Path, index: Table) -> None:
    """Store an index, unless the folder cannot be written: it only saves time."""
    text = json.dumps(index, separators=(",", ":"))
    try:
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError:
        return
