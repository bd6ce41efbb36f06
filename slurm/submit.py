"""Sends runs to SLURM: jobs, their record, and the return of what SLURM does not take."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from typing import TYPE_CHECKING

from results import store
from results.errors import RunFailed
from slurm import submission as records
from slurm.pool import shielded
from slurm.sbatch import Refused, executor_for, send
from slurm.snapshot import code_root, copy_code, digest_of_code, with_copied_plugins
from slurm.submission import FOLDER, LOG, Array, Submission

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from slurm.pack import Batch


class PartlyRefused(RunFailed):
    """SLURM took some arrays and refused the rest."""


def scripts(batches: Sequence[Batch], context: ExecutionContext) -> Iterator[str]:
    """What sbatch would be given for each batch."""
    folder = context.runs.resolve() / FOLDER / "ID"
    for batch in batches:
        after = "" if batch.after is None else f"ARRAY{batch.after}"
        executor = executor_for(folder, str(folder / "code"), batch.profile, parallel=batch.parallel, after=after)
        yield executor.script(len(batch.tasks))


def submit(batches: Sequence[Batch], context: ExecutionContext, *, command: str, snapshot: bool) -> Submission:
    """Send batches; returns their record as soon as SLURM has taken them.

    Args:
        batches: to be sent.
        context: where their runs are carried out.
        command: the command line.
        snapshot: let the jobs use a copy of the code as it is now; else they refuse to run once it has changed.

    Raises:
        Refused: SLURM takes none of it; nothing is left behind.
        PartlyRefused: it took some; of the rest nothing is left behind.
    """
    root = code_root()
    folder = context.runs.resolve() / FOLDER / records.new_id()
    (folder / LOG).mkdir(parents=True)
    made: list[Path] = []
    submission = records.new(
        context,
        name=folder.name,
        command=command,
        code=digest_of_code(root),
        root=str(folder / "code" if snapshot else root),
        tasks=[[run.folder() for run in task] for batch in batches for task in batch.tasks],
        arrays=list(arrays_of(batches)),
    )
    try:
        if snapshot:
            copy_code(folder / "code")
            batches = [with_plugins_in(folder / "plugins", batch) for batch in batches]
        made += write_configs((run for batch in batches for task in batch.tasks for run in task), context.runs)
        submission.write()
        submission = send_all(batches, submission, snapshot=snapshot)
    finally:
        withdraw(records.read(folder) if (folder / records.FILE).exists() else submission, made)
    return submission


def with_plugins_in(folder: Path, batch: Batch) -> Batch:
    """A batch whose runs use copies of the Python files that they name."""
    tasks = tuple(tuple(with_copied_plugins(run, folder) for run in task) for task in batch.tasks)
    return dataclasses.replace(batch, tasks=tasks)


def arrays_of(batches: Iterable[Batch]) -> Iterator[Array]:
    """The record of each batch."""
    first = 0
    for batch in batches:
        asked = batch.profile
        yield Array(first, len(batch.tasks), asked.limit, asked.cpus, asked.mem, asked.per_gpu)
        first += len(batch.tasks)


def write_configs(runs: Iterable[Run], folder: Path) -> Iterator[Path]:
    """Write what each run is into its folder; yields the folders that are new."""
    for run in runs:
        path = folder / run.folder()
        config, is_new = run.config(), not path.exists()
        path.mkdir(exist_ok=True)
        if is_new:
            yield path
        store.write_json(path / store.CONFIG, config)


def send_all(batches: Sequence[Batch], submission: Submission, *, snapshot: bool) -> Submission:
    """Send every batch, and record each as soon as SLURM has taken it.

    Raises:
        Refused: SLURM took none.
        PartlyRefused: SLURM took some.
    """
    for number, batch in enumerate(batches):
        after = "" if batch.after is None else submission.arrays[batch.after].job
        root = submission.root if snapshot else ""
        executor = executor_for(submission.folder, root, batch.profile, parallel=batch.parallel, after=after)
        try:
            with shielded():
                submission = submission.taken(number, send(executor, submission, submission.arrays[number]))
                submission.write()
        except Refused as error:
            if not number:
                raise
            taken = sum(array.size for array in submission.arrays[:number])
            raise PartlyRefused(f"submitted {taken} of {len(submission.tasks)} jobs; then {error}") from error
    return submission


def withdraw(submission: Submission, made: Iterable[Path]) -> None:
    """Remove what was made for arrays that SLURM has not taken.

    Args:
        submission: as far as it came.
        made: run folders that are new.
    """
    taken = [array for array in submission.arrays if array.job]
    tasks = submission.tasks[: sum(array.size for array in taken)]
    if len(taken) == len(submission.arrays):
        return
    kept = {name for task in tasks for name in task}
    for folder in made:
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    if taken:
        dataclasses.replace(submission, arrays=tuple(taken), tasks=tasks).write()
        return
    shutil.rmtree(submission.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        submission.folder.parent.rmdir()
