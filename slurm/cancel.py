"""Takes jobs back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.errors import RequestError
from slurm.pack import chunked
from slurm.queue import call
from slurm.status import overview

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AT_ONCE = 200
"""Jobs in one call of scancel."""


def cancel(runs: Path, names: Sequence[str] = ()) -> tuple[int, int]:
    """Cancel the jobs of some runs, or of all; what runs have kept stays.

    Args:
        runs: the runs folder.
        names: of run folders; none for all.

    Returns:
        How many jobs were cancelled, and how many unfinished runs they held.

    Raises:
        RequestError: a run shares its job with others that are not named.
        NoAnswer: SLURM does not answer.
    """
    now = overview(runs)
    live = [state for state in now.states if state.job in now.live() and state.state not in ("done", "failed")]
    jobs = {state.job for state in live if not names or state.run in names}
    held = [state for state in live if state.job in jobs]
    others = [state.run for state in held if names and state.run not in names]
    if others:
        raise RequestError(
            f"{len(others)} other runs share these jobs: {', '.join(others[:3])}{'…' if others[3:] else ''}",
            hint="name them too, or cancel all",
        )
    for some in chunked(sorted(jobs), AT_ONCE):
        call("scancel", *some)
    return len(jobs), len(held)
