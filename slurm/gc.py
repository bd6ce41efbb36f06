"""What a runs folder and the prepared images take, and what of it no run needs any more."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from protocols.datasets.digests import ENDING, folder_of_memory
from protocols.datasets.prepared import ARRAY, CHECKED, FOLDER, STATISTICS, UNFINISHED
from protocols.spec.plugins import dataset_source
from results import store
from results.errors import BenchError, DamagedFile, DataMissing, UnknownName
from results.tuning import FOLDER as TUNING
from slurm.status import read_status
from slurm.submission import FOLDER as SUBMISSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.status import RunStatus

Kind = Literal["checkpoint", "weights", "failed run", "leftover", "prepared images"]

PREPARED_ENDINGS = (ARRAY, CHECKED, STATISTICS, ENDING, *UNFINISHED)
"""Of the files that are written below ``prepared``; others are left alone."""

YOUNG_S = 3600.0
"""Seconds for which prepared images are kept whatever they are: another command may just have made them."""

WEIGHTS = (store.BACKBONE, store.EXTRA_STATE)
"""Belong together: without one of them a run is pretrained again before it is evaluated further."""


@dataclass(frozen=True)
class Garbage:
    """A file or folder that no run needs.

    Attributes:
        path: of it.
        size: in bytes, with everything in it.
        kind: what it is.
        reason: why nothing needs it.
        run: name of the run's folder that it lies in; empty if in none.
    """

    path: Path
    size: int
    kind: Kind
    reason: str
    run: str = ""


@dataclass(frozen=True)
class Inventory:
    """What is there.

    Attributes:
        garbage: what no run needs.
        sizes: bytes that are taken in all, by what takes them.
        unlisted: bytes of prepared images that no run of the runs folder uses, unless they are listed.
        notes: what could not be judged, and why.
    """

    garbage: tuple[Garbage, ...]
    sizes: Counter[str]
    unlisted: int
    notes: tuple[str, ...]


def take_inventory(
    runs: Path, data: Path, *, weights: bool = False, failed: bool = False, prepared: bool = False
) -> Inventory:
    """List what a runs folder and the prepared images take, and what of it no run needs.

    What a running or queued run owns, and what an unfinished one needs to resume, is needed. Links are not followed.

    Args:
        runs: the runs folder.
        data: folder of the data sets.
        weights: count the weights of finished runs as not needed.
        failed: count runs that failed as not needed.
        prepared: count prepared images as not needed that no run of the runs folder uses. Runs elsewhere may.
    """
    sizes, garbage = Counter[str](), list[Garbage]()
    for status in read_status(runs).runs:
        folder = runs / status.run
        if folder.is_symlink():
            continue
        for path in folder.rglob("*"):
            sizes[part_of(path)] += own_size(path)
        garbage += garbage_of_run(folder, status, weights=weights, failed=failed)
    garbage += [
        Garbage(path, own_size(path), "leftover", "its writer was killed")
        for path in sorted([*runs.iterdir(), *runs.glob(f"{TUNING}/*"), *runs.glob(f"{SUBMISSIONS}/*/*")])
        if store.is_left_over(path)
    ]
    notes = list[str]()
    files = sorted((data / FOLDER).iterdir()) if (data / FOLDER).is_dir() else []
    sizes["prepared images"] = sum(map(own_size, files))
    found = list(garbage_of_prepared(files, needed_images(runs, data, notes.append)))
    garbage += (one for one in found if prepared or one.kind != "prepared images")
    unlisted = 0 if prepared else sum(one.size for one in found if one.kind == "prepared images")
    return Inventory(tuple(garbage), sizes, unlisted, tuple(notes))


def part_of(path: Path) -> str:
    """What a file of a run's folder counts as."""
    if path.name in WEIGHTS:
        return "weights"
    return "checkpoints" if path.name == store.CHECKPOINT else "records, evaluations and the rest"


def own_size(path: Path) -> int:
    """Bytes of a file; 0 of anything else, or if it has gone meanwhile."""
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except OSError:
        return 0


def garbage_of_run(folder: Path, status: RunStatus, *, weights: bool, failed: bool) -> Iterator[Garbage]:
    """What of a run's folder it does not need, given its status."""
    name = folder.name
    if is_owned(folder / store.CLAIM):
        return
    has_failed = status.state in ("failed", "unreadable") and (folder / store.FAILURE).is_file()
    if failed and has_failed and not is_done(folder):
        yield Garbage(folder, sum(map(own_size, folder.rglob("*"))), "failed run", f"failed: {status.reason}", name)
        return
    found: list[tuple[Path, Kind, str]] = [
        (path, "leftover", "its writer was killed") for path in sorted(folder.rglob("*")) if store.is_left_over(path)
    ]
    found.append((folder / store.CLAIM, "leftover", "its process is gone"))
    if status.state == "done":
        found += [(folder / file, "checkpoint", "the run is done") for file in (store.CHECKPOINT, store.HEARTBEAT)]
        if weights:
            reason = "the run is done; what it has not measured needs a new pretraining"
            found += [(folder / file, "weights", reason) for file in WEIGHTS]
    yield from (Garbage(path, own_size(path), kind, reason, name) for path, kind, reason in found if path.is_file())


def is_owned(claim: Path) -> bool:
    """Whether a claim's process may be running: one of another machine may for a day after its last sign of life."""
    if not claim.exists():
        return False
    owner, here = store.read_claim(claim), store.this_process()
    if owner is not None and (owner.host, owner.processes) == (here.host, here.processes):
        return not store.is_abandoned(claim)
    ages = [store.seconds_since_written(path) for path in (claim, claim.with_name(store.HEARTBEAT))]
    return min(ages) < 24 * 3600


def is_done(folder: Path) -> bool:
    """Whether a run's folder has a record, damaged or not."""
    return (folder / store.RECORD).exists()


def needed_images(runs: Path, data: Path, note: Callable[[str], None]) -> set[Path] | None:
    """The prepared files that runs of a folder read.

    Args:
        runs: the runs folder.
        data: folder of the data sets.
        note: called with what could not be read.

    Returns:
        None if that is not known.
    """
    names = dict[str, None]()
    for path in sorted(runs.glob(f"*/{store.CONFIG}")):
        try:
            config = store.read_config(path.parent)
        except DamagedFile as error:
            note(f"prepared images are left: {error.message}")
            return None
        names |= dict.fromkeys(
            part["name"]
            for part in (config["dataset"], *(one.get("dataset") or config["dataset"] for one in config["evaluations"]))
        )
    needed = set[Path]()
    for name in names:
        try:
            needed |= set(dataset_source(name, data).prepared_files())
        except UnknownName:
            continue  # of a plugin, which has no prepared images
        except DataMissing as error:
            note(f"prepared images are left: {error.message}")
            return None
    return needed


def garbage_of_prepared(files: list[Path], needed: set[Path] | None) -> Iterator[Garbage]:
    """The files below ``prepared`` that nothing reads, or no run that is known; of unknown needs, the former.

    Args:
        files: all of them.
        needed: see :func:`needed_images`.
    """
    for path in files:
        array = path.with_suffix(ARRAY)
        unfinished = [path.with_suffix(end) for end in UNFINISHED]  # a lock is old while its array is written
        if store.is_left_over(path):
            yield Garbage(path, own_size(path), "leftover", "its writer was killed")
        elif path.suffix not in PREPARED_ENDINGS or path.is_symlink() or any(map(is_young, (path, *unfinished))):
            continue
        elif path in unfinished and array.exists():
            yield Garbage(path, own_size(path), "leftover", f"{array.name} is complete")
        elif path.suffix == ENDING and (folder := folder_of_memory(path)) and not folder.is_dir():
            yield Garbage(path, own_size(path), "leftover", f"{folder} is gone")
        elif needed is not None and path not in needed:
            yield Garbage(
                path,
                own_size(path),
                "prepared images",
                "no run in this runs folder uses it; one elsewhere makes it again",
            )


def is_young(path: Path) -> bool:
    """Whether a file was written within the last :data:`YOUNG_S`."""
    return store.seconds_since_written(path) < YOUNG_S


def delete(garbage: tuple[Garbage, ...], runs: Path) -> list[str]:
    """Delete what :func:`take_inventory` listed; what a process has claimed meanwhile is left.

    Returns:
        A line for everything that is left, with the reason.
    """
    left = []
    for one in garbage:
        try:
            if not one.run:
                one.path.unlink(missing_ok=True)
                continue
            with store.claimed(runs / one.run):  # which replaces a claim, and removes temporary files
                if one.kind == "failed run" and is_done(one.path):
                    left.append(f"{one.path} is left: it is done by now")
                elif one.kind == "failed run":
                    shutil.rmtree(one.path)
                elif one.path.name != store.CLAIM:
                    one.path.unlink(missing_ok=True)
        except OSError as error:
            left.append(f"{one.path} is left: {error.strerror}")
        except BenchError as error:
            left.append(f"{one.path} is left: {error}")
    return left
