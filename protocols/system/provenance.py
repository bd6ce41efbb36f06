"""Provenance of a run: code, software, machine, command."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from protocols.system.device import describe_machine, installed_version, tf32_enabled
from results.errors import DamagedFile
from results.store import now, read_json

DISTRIBUTION = "ssl-bench"

COMMIT = "commit.json"
"""File beside a copy of the code, with the :func:`commit` of the original."""


def provenance(device: torch.device) -> dict[str, Any]:
    """Code, software, machine and command that produce a record."""
    return {
        **describe_machine(device),
        "tf32": tf32_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "bench": installed_version(DISTRIBUTION),
        **commit(),
        "command": " ".join([program_name(), *sys.argv[1:]]),
        "images": "uint8 arrays; views made by bench on tensors",
        "finished": now(),
    }


def program_name() -> str:
    """The name of this command: ``bench``, also where it is started as ``python -m bench``."""
    program = Path(sys.argv[0])
    return program.parent.name if program.name == "__main__.py" else program.name


@functools.cache
def commit() -> dict[str, Any]:
    """The git commit of this code, and whether files differ from it; empty outside of a git checkout."""
    here = Path(__file__).parent
    with contextlib.suppress(DamagedFile):
        copied = read_json(here.parent / COMMIT)
        if copied is not None:
            return copied

    def git(*words: str) -> str:
        return subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(here), *words],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.toml")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "", "dirty": False}
