"""The code that a submission runs: its digest, and a copy of it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.system.provenance import COMMIT, commit
from results.registry import digest_of_file
from results.store import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.spec.run import Run

PACKAGES = ("bench", "methods", "protocols", "results", "slurm")
"""Packages that a job or a plugin file imports."""

SUFFIXES = (".py", ".toml")


def code_root() -> Path:
    """The folder that this process imports the packages from."""
    return Path(__file__).parents[1]


def source_files(root: Path) -> Iterator[Path]:
    """The files of the packages, relative to ``root``, in a fixed order."""
    for package in PACKAGES:
        yield from sorted(path.relative_to(root) for path in (root / package).rglob("*") if path.suffix in SUFFIXES)


def code_digest(root: Path) -> str:
    """SHA-256 of the source files and their names."""
    digest = hashlib.sha256()
    for path in source_files(root):
        digest.update(f"{path}\0".encode() + (root / path).read_bytes() + b"\0")
    return digest.hexdigest()


def copy_code(destination: Path) -> None:
    """Copy the source files, and write down their commit; the copy appears complete or not at all."""
    root, unfinished = code_root(), destination.with_name(f".{destination.name}")
    for path in source_files(root):
        (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, unfinished / path)
    write_json(unfinished / COMMIT, commit())
    unfinished.rename(destination)


def with_copied_plugins(run: Run, destination: Path) -> Run:
    """The run, with its plugin files copied to a folder, where their names begin with a digest of their content."""
    copies = []
    for plugin in run.plugins:
        copy = destination / f"{digest_of_file(Path(plugin))}-{Path(plugin).name}"
        if not copy.exists():
            destination.mkdir(exist_ok=True)
            shutil.copyfile(plugin, copy)
        copies.append(str(copy))
    return dataclasses.replace(run, plugins=tuple(copies))
