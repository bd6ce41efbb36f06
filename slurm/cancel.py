"""Cancels jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.errors import RequestError
from slurm.pack import chunked
from slurm.queue import run_command
from slurm.status import read_status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

JOBS_PER_CALL = 200
"""Maximum number of jobs in one call of scancel."""


def cancel_jobs(runs: Path, names: Sequence[str] = ()) -> tuple[int, int]:
    """Cancel the jobs of some runs, or of all; what the runs have saved stays.

    Args:
        runs: the runs folder.
        names: of run folders; empty for all.

    Returns:
        The number of jobs cancelled, and of the unfinished runs in them.

    Raises:
        RequestError: a run shares its job with others that are not named.
        SlurmCommandError: SLURM does not respond.
    """
    active = read_status(runs).active_runs()
    jobs = {run.job for run in active if not names or run.run in names}
    cancelled = [run.run for run in active if run.job in jobs]
    others = [name for name in cancelled if names and name not in names]
    if others:
        raise RequestError(
            f"{len(others)} other runs share these jobs: {', '.join(others[:3])}{'…' if others[3:] else ''}",
            hint="name them too, or cancel all",
        )
    for some in chunked(sorted(jobs), JOBS_PER_CALL):
        run_command("scancel", *some)
    return len(jobs), len(cancelled)
