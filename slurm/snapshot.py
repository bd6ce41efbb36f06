"""The code of a submission: its digest, and a copy of it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.system.provenance import COMMIT, commit
from results.store import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.spec.run import Run

PACKAGES = ("methods", "protocols", "results", "slurm")
"""What a job imports."""

KINDS = (".py", ".toml")


def code_root() -> Path:
    """The folder that this process imports the code from."""
    return Path(__file__).parents[1]


def sources(root: Path) -> Iterator[Path]:
    """The files that a job's work depends on, relative to ``root``, in a fixed order."""
    for package in PACKAGES:
        yield from sorted(path.relative_to(root) for path in (root / package).rglob("*") if path.suffix in KINDS)


def digest_of_code(root: Path) -> str:
    """SHA-256 of the code's files and their names."""
    digest = hashlib.sha256()
    for path in sources(root):
        digest.update(f"{path}\0".encode() + (root / path).read_bytes() + b"\0")
    return digest.hexdigest()


def copy_code(to: Path) -> None:
    """Copy the code, with a note of its commit; the copy appears complete or not at all."""
    root, unfinished = code_root(), to.with_name(f".{to.name}")
    for path in sources(root):
        (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, unfinished / path)
    write_json(unfinished / COMMIT, commit())
    unfinished.rename(to)


def with_copied_plugins(run: Run, to: Path) -> Run:
    """The run, with the Python files that it names copied to a folder."""
    copies = []
    for number, plugin in enumerate(run.plugins):
        copy = to / f"{number}-{Path(plugin).name}"
        if not copy.exists():
            to.mkdir(exist_ok=True)
            shutil.copyfile(plugin, copy)
        copies.append(str(copy))
    return dataclasses.replace(run, plugins=tuple(copies))
