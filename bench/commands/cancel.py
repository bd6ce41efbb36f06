"""``bench cancel``: cancel jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.completion import run_names
from bench.echo import echo
from bench.options import RUNS, Runs


def cancel(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]…", help="Names of run folders, or parts; none for all.", autocompletion=run_names
        ),
    ] = None,
    *,
    runs: Runs = RUNS,
) -> None:
    """Cancel the queued and running SLURM jobs: all of them, or those of some runs.

    Runs save their state: bench submit --retry all resumes them.
    """
    from bench.commands.show import find_run
    from results.store import require_runs_folder
    from slurm.cancel import cancel_jobs
    from slurm.queue import require_slurm

    require_slurm()
    require_runs_folder(runs)
    jobs, cancelled = cancel_jobs(runs, [find_run(name, runs).name for name in names or ()])
    echo(f"cancelled {jobs} jobs with {cancelled} runs" if jobs else "nothing is queued or running")
