"""What tables, plans and ``bench status`` need of every run, cached so that unchanged runs are not read again.

An index is derived: delete it whenever you like. An entry is used only while the stamps of the run's files
(times, size, inode) are unchanged, and the whole index is rebuilt when it is damaged or of another version. It is
written atomically; where the folder cannot be written, every run is read instead.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

from results.errors import DamagedFile
from results.store import CONFIG, FAILURE, RECORD, checksum, measures_all, read_json, read_run, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from results.record import JsonDict
    from results.store import Stored

INDEX = ".index.json"
"""Name of that of tables in the runs folder."""

FILES = (CONFIG, RECORD, FAILURE)
"""The files of a run that a summary depends on."""


DONE_INDEX = ".done.json"
"""Name of that of plans and ``bench status``, which is small."""

DONE_VERSION = 2
"""Of what :func:`summarize_done` returns, and of what makes a record a valid one; raised by hand."""


def finished_runs(
    runs: Path, only: Iterable[str] | None = None, read: Callable[[Path], Stored] = read_run
) -> dict[str, JsonDict]:
    """What was measured of every run that is done, see :func:`summarize_done`, by the name of its folder.

    Args:
        runs: the runs folder.
        only: names of run folders, if not all are asked for.
        read: reads a run's folder; called for every run that is not known to be done.

    Raises:
        OSError: the runs folder cannot be read.
    """
    return summaries(runs, lambda folder: summarize_done(read(folder)), DONE_VERSION, name=DONE_INDEX, only=only)


def summarize_done(stored: Stored) -> JsonDict | None:
    """Of a run that is done: ``complete``, whether all that its configuration asks for was measured, and ``measured``.

    The latter is equal for records with the same evaluations of the same data sets. None if the run is not done.
    """
    if stored.record is None or stored.config is None:
        return None
    run = stored.record["run"]
    measured = checksum(msgspec.json.encode([run["dataset"], run["evaluations"]]))[:16]
    return {"complete": measures_all(stored.record, stored.config), "measured": measured}


def summaries(
    runs: Path,
    summarize: Callable[[Path], JsonDict | None],
    version: int,
    *,
    name: str = INDEX,
    only: Iterable[str] | None = None,
) -> dict[str, JsonDict]:
    """A summary of every run below a folder, by the name of its folder and in that order.

    Args:
        runs: the runs folder.
        summarize: reads a run's folder; its result must be plain JSON and depend on ``FILES`` only. One that has none
            is left out, and asked again next time.
        version: of ``summarize``; an index of another version is not used.
        name: of the index.
        only: names of run folders, if not all shall be read.

    Raises:
        OSError: the runs folder cannot be read.
    """
    if only is None:
        with os.scandir(runs) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) or os.path.isdir(e.path))  # noqa: PTH112 - false for what cannot be looked at
    else:
        names = sorted(only)
    known = read_index(runs / name, version)
    found = {}
    for folder in names:
        stamps = [stamp(f"{runs}/{folder}/{file}") for file in FILES]
        if not stamps[0]:
            continue  # without a configuration it is no run
        entry = known.get(folder)
        if entry is None or entry["stamp"] != stamps:
            # Stamped before reading: what changes meanwhile is read again next time.
            summary = summarize(runs / folder)
            if summary is None:
                continue
            entry = {"stamp": stamps, "summary": summary}
        found[folder] = entry
    asked = set(names)
    others = {} if only is None else {folder: entry for folder, entry in known.items() if folder not in asked}
    if {**others, **found} != known:
        write_index(runs / name, {"version": version, "entries": {**others, **found}})
    return {folder: entry["summary"] for folder, entry in found.items()}


def stamp(path: str) -> list[int]:
    """Times of the last write and change in ns, size and inode of a file; empty if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called 30,000 times
    except OSError:
        return [-1] if os.path.islink(path) else []  # noqa: PTH114 - as above; a link to nothing is damage, not absence
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


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
