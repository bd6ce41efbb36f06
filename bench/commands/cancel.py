"""``bench cancel``: take jobs back."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.options import RUNS, Runs


def cancel(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]…", help="Names of run folders, or parts; none for all.")
    ] = None,
    *,
    runs: Runs = RUNS,
) -> None:
    """Cancel what is queued or running on SLURM: all of it, or some runs.

    Runs keep their state: bench submit --retry all carries on with them.
    """
    from bench.commands.show import find
    from slurm.cancel import cancel as cancel_jobs
    from slurm.queue import require_slurm

    require_slurm()
    jobs, held = cancel_jobs(runs, [find(name, runs).name for name in names or ()])
    typer.echo(f"cancelled {jobs} jobs with {held} runs" if jobs else "nothing is queued or running")
