"""Selects the runs to submit: failed ones for a retry, and those that no job is executing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.spec.run import Run
from results.errors import RequestError
from results.store import read_run, release
from slurm.status import RETRY_KINDS, read_status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def select_retries(which: str, folder: Path) -> list[Run]:
    """The failed runs of a folder.

    Args:
        which: a key of ``RETRY_KINDS``: ``failed``, ``timeout`` or ``all``.
        folder: of the runs.

    Raises:
        RequestError: ``which`` is none of them.
    """
    if which not in RETRY_KINDS:
        raise RequestError(f"--retry {which}", hint=f"choose {', '.join(RETRY_KINDS)}")
    names = [run.run for run in read_status(folder).runs if run.kind in RETRY_KINDS[which]]
    return [Run.from_config(read_run(folder / name).config or {}) for name in names]


def exclude_active(runs: Sequence[Run], folder: Path) -> list[Run]:
    """The runs that are not in a queued or running job; claims that ended jobs have left on them are removed.

    Args:
        runs: to choose from.
        folder: of the runs.

    Raises:
        RequestError: SLURM does not respond.
    """
    status = read_status(folder)
    if "squeue" in status.query_errors:
        raise RequestError(f"SLURM does not respond: {status.query_errors['squeue']}", hint="try again later")
    active = {run.run for run in status.active_runs()}
    selected = [run for run in runs if run.folder() not in active]
    for run in selected:
        release(folder / run.folder(), status.active_jobs())
    return selected
