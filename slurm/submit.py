"""Submits runs to SLURM: plans the job arrays, records the submission, removes what SLURM does not accept."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from typing import TYPE_CHECKING

from results import store
from results.errors import RunFailed
from slurm.pack import pack_runs
from slurm.pool import block_stop_signals
from slurm.sbatch import MAX_ARRAY_SIZE, SubmissionRefused, make_executor, max_array_size, submit_array
from slurm.snapshot import code_digest, code_root, copy_code, with_copied_plugins
from slurm.submission import (
    FILE,
    FOLDER,
    LOG_FOLDER,
    Submission,
    SubmittedArray,
    new_submission,
    new_submission_id,
    read_submission,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from slurm.pack import ArrayBatch
    from slurm.profile import Profiles


class PartlyRefused(RunFailed):
    """SLURM accepted some arrays and refused the others."""


def plan_batches(
    runs: Sequence[Run], budgets: Sequence[Budget], profiles: Profiles, context: ExecutionContext
) -> list[ArrayBatch]:
    """Group runs into jobs, and jobs into arrays as large as the cluster allows.

    Args:
        runs: to be submitted.
        budgets: length of each run's pretraining, for an estimate of its time from a few steps on this machine.
        profiles: the profile of each run.
        context: folders and device of the runs.

    Raises:
        SubmissionRefused: SLURM is installed but does not respond.
    """
    from protocols.speed.estimate import duration_key, seconds_by_duration_key

    budget_of = {run.folder(): budget for run, budget in zip(runs, budgets, strict=True)}

    def estimate(some: Sequence[Run]) -> list[float]:
        seconds = dict(seconds_by_duration_key([(run, budget_of[run.folder()]) for run in some], context))
        return [seconds[duration_key(run)] for run in some]

    largest = max_array_size() if shutil.which("sbatch") else MAX_ARRAY_SIZE
    return pack_runs(runs, profiles, largest, estimate)


def render_scripts(batches: Sequence[ArrayBatch], context: ExecutionContext) -> Iterator[str]:
    """The script that sbatch would receive for each batch."""
    folder = context.runs.resolve() / FOLDER / "ID"
    for batch in batches:
        after = "" if batch.after is None else f"ARRAY{batch.after}"
        executor = make_executor(
            folder, str(folder / "code"), batch.profile, parallel=batch.parallel, after=after, ranks=context.ranks
        )
        yield executor.render_script(len(batch.tasks))


def submit_batches(
    batches: Sequence[ArrayBatch], context: ExecutionContext, *, command: str, snapshot: bool, force: bool = False
) -> Submission:
    """Submit batches; returns the submission once SLURM has accepted all of them.

    Args:
        batches: to be submitted.
        context: folders and device of the runs.
        command: the command line.
        snapshot: let the jobs use a copy of the code; otherwise they refuse to run after the code has changed.
        force: first discard what the runs have stored.

    Raises:
        SubmissionRefused: SLURM accepts no batch; everything made for the submission is removed.
        PartlyRefused: SLURM accepts some batches; what was made for the others is removed.
        Busy: ``force`` is given and another process executes one of the runs.
    """
    runs = [run for batch in batches for task in batch.tasks for run in task]
    if force:
        for run in runs:
            store.discard(context.runs / run.folder())
    arrays: list[SubmittedArray] = []
    for batch in batches:
        first, profile = sum(array.size for array in arrays), batch.profile
        limits = (profile.time_limit_minutes, profile.cpus, profile.mem, profile.per_gpu)
        ranks = profile.ranks(context.ranks)
        arrays.append(SubmittedArray(first, len(batch.tasks), *limits, nodes=profile.nodes, ranks=ranks))
    root = code_root()
    folder = context.runs.resolve() / FOLDER / new_submission_id()
    (folder / LOG_FOLDER).mkdir(parents=True)
    new_folders: list[Path] = []
    submission = new_submission(
        context,
        submission_id=folder.name,
        command=command,
        code=code_digest(root),
        root=str(folder / "code" if snapshot else root),
        tasks=[[run.folder() for run in task] for batch in batches for task in batch.tasks],
        arrays=arrays,
    )
    try:
        if snapshot:
            copy_code(folder / "code")
            runs = [with_copied_plugins(run, folder / "plugins") for run in runs]
        new_folders += write_configs(runs, context.runs)
        submission.save()
        submit_arrays(batches, submission, snapshot=snapshot)
    finally:
        if (folder / FILE).exists():
            submission = read_submission(folder)
        remove_refused(submission, new_folders)
    return submission


def write_configs(runs: Iterable[Run], folder: Path) -> Iterator[Path]:
    """Write the configuration of each run into its folder; yields the folders that are new."""
    for run in runs:
        path = folder / run.folder()
        config, is_new = run.config(), not path.exists()
        path.mkdir(exist_ok=True)
        if is_new:
            yield path
        store.write_json(path / store.CONFIG, config)


def submit_arrays(batches: Sequence[ArrayBatch], submission: Submission, *, snapshot: bool) -> None:
    """Submit every batch, and save its job id as soon as SLURM has accepted it.

    Raises:
        SubmissionRefused: SLURM accepts no batch.
        PartlyRefused: SLURM accepts some batches.
    """
    for index, batch in enumerate(batches):
        after = "" if batch.after is None else submission.arrays[batch.after].job
        root = submission.root if snapshot else ""
        executor = make_executor(
            submission.folder, root, batch.profile, parallel=batch.parallel, after=after, ranks=submission.ranks
        )
        try:
            with block_stop_signals():
                submission = submission.with_job_id(index, submit_array(executor, submission, index))
                submission.save()
        except SubmissionRefused as error:
            if not index:
                raise
            accepted = sum(array.size for array in submission.arrays[:index])
            raise PartlyRefused(f"submitted {accepted} of {len(submission.tasks)} jobs; then {error}") from error


def remove_refused(submission: Submission, new_folders: Iterable[Path]) -> None:
    """Remove what was made for arrays that SLURM has not accepted.

    Args:
        submission: with the job ids of the arrays that were accepted.
        new_folders: run folders that were made for the submission.
    """
    accepted = [array for array in submission.arrays if array.job]
    if len(accepted) == len(submission.arrays):
        return
    tasks = submission.tasks[: sum(array.size for array in accepted)]
    names = {name for task in tasks for name in task}
    for folder in new_folders:
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
    if accepted:
        dataclasses.replace(submission, arrays=tuple(accepted), tasks=tasks).save()
        return
    shutil.rmtree(submission.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        submission.folder.parent.rmdir()
