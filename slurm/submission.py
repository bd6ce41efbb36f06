"""The record of what was submitted to SLURM: ``<runs>/.submissions/<id>/``.

    submission.json     tasks (lists of run folders), the job arrays they were submitted in, their job ids, the code
    code/               copy of the code, unless --no-snapshot was given
    plugins/            copies of the plugin files that were named on the command line
    log/                output of the jobs, <job id>_0_log.out

A task is the work of one job: one run or several. Everything about a run is in the run's own folder.
The field names of the classes below are the keys of ``submission.json``.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.spec.execution import ExecutionContext
from results.errors import DamagedFile, RequestError
from results.schema import build, to_plain
from results.store import now, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.record import JsonDict

log = logging.getLogger(__name__)

FOLDER = ".submissions"
FILE = "submission.json"
LOG_FOLDER = "log"

NO_PROGRESS = "no progress"
"""Start of the failure reason of runs whose job is not requeued."""


@dataclass(frozen=True)
class SubmittedArray:
    """A job array.

    Attributes:
        first: index of its first task among the tasks of the submission.
        size: number of tasks.
        minutes: time limit of each job.
        cpus: of each job.
        mem: memory of each job; empty for the cluster's default.
        per_gpu: runs at a time on each GPU.
        nodes: of each job.
        ranks: processes that share the pretraining of each run; 0 for those of the submission.
        job: SLURM's job id; empty until SLURM has accepted the array.
    """

    first: int
    size: int
    minutes: int
    cpus: int = 1
    mem: str = ""
    per_gpu: int = 1
    nodes: int = 1
    ranks: int = 0
    job: str = ""

    def __post_init__(self) -> None:
        at_least_one = (self.size, self.minutes, self.cpus, self.per_gpu, self.nodes)
        if min(at_least_one) < 1 or min(self.first, self.ranks) < 0:
            raise ValueError("an array has an impossible size or limit")
        if not re.fullmatch(r"\d*", self.job):
            raise ValueError(f"{self.job!r} is no job id of SLURM")

    def job_id(self, task: int) -> str:
        """SLURM's job id of a task, given its index; empty if SLURM has not accepted the array."""
        return f"{self.job}_{task - self.first}" if self.job and self.size > 1 else self.job


@dataclass(frozen=True)
class Submission:
    """The runs of one ``bench submit``, and the jobs that execute them.

    Attributes:
        runs: folder of the runs.
        data: folder of the data sets.
        device: device of the runs.
        reference: use the reference operations.
        id: name of the submission.
        created: time of the submission.
        command: command line of the submission.
        code: digest of the code that was submitted.
        root: folder that jobs import the code from.
        tasks: names of the run folders of each task.
        arrays: the job arrays.
        ranks: processes that share the pretraining of each run.
        deterministic: use deterministic kernels only.
        log: names of what runs are followed in.
    """

    runs: str
    data: str
    device: str
    reference: bool
    id: str
    created: str
    command: str
    code: str
    root: str
    tasks: tuple[tuple[str, ...], ...]
    arrays: tuple[SubmittedArray, ...]
    ranks: int = 1
    deterministic: bool = False
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.created)
        if any(not name or Path(name).name != name for task in self.tasks for name in task):
            raise ValueError("a task names a folder outside of the runs folder")
        if not all(self.tasks):
            raise ValueError("a task has no runs")
        if any(array.first + array.size > len(self.tasks) for array in self.arrays):
            raise ValueError("an array has more jobs than there are tasks")

    @property
    def folder(self) -> Path:
        """Folder of the submission."""
        return Path(self.runs) / FOLDER / self.id

    @property
    def context(self) -> ExecutionContext:
        """Folders and device of the runs."""
        return ExecutionContext(
            Path(self.runs),
            Path(self.data),
            self.device,
            self.reference,
            self.ranks,
            deterministic=self.deterministic,
            log=self.log,
        )

    def context_of(self, task: int) -> ExecutionContext:
        """Folders, device and ranks of the runs of a task; on several nodes srun starts the ranks."""
        array = self.array_of(task)
        return dataclasses.replace(self.context, ranks=array.ranks or self.ranks, launched=array.nodes > 1)

    def array_of(self, task: int) -> SubmittedArray:
        """The array that contains the task of this index."""
        return next(array for array in self.arrays if array.first <= task < array.first + array.size)

    def accepted_jobs(self) -> Iterator[tuple[str, SubmittedArray, tuple[str, ...]]]:
        """Each job that SLURM has accepted: its id, its array and the folder names of its runs."""
        for array in self.arrays:
            for task in range(array.first, array.first + array.size) if array.job else ():
                yield array.job_id(task), array, self.tasks[task]

    def with_job_id(self, array: int, job: str) -> Submission:
        """A copy in which the array of this index has a job id."""
        arrays = list(self.arrays)
        arrays[array] = dataclasses.replace(arrays[array], job=job)
        return dataclasses.replace(self, arrays=tuple(arrays))

    def log_path(self, job: str) -> Path:
        """The file that a job writes its output to."""
        return self.folder / LOG_FOLDER / f"{job}_0_log.out"

    def save(self) -> None:
        """Write ``submission.json``."""
        write_json(self.folder / FILE, to_plain(self))


def new_submission_id() -> str:
    """A unique id; ids sort by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def new_submission(
    context: ExecutionContext,
    *,
    submission_id: str,
    command: str,
    code: str,
    root: str,
    tasks: Sequence[Sequence[str]],
    arrays: Sequence[SubmittedArray],
) -> Submission:
    """A submission created now; its paths are absolute, since jobs start in another folder."""
    return Submission(
        runs=str(context.runs.resolve()),
        data=str(context.data.resolve()),
        device=context.device,
        reference=context.reference,
        id=submission_id,
        created=now(),
        command=command,
        code=code,
        root=root,
        tasks=tuple(map(tuple, tasks)),
        arrays=tuple(arrays),
        ranks=context.ranks,
        deterministic=context.deterministic,
        log=context.log,
    )


def read_submission(folder: Path) -> Submission:
    """Read the submission in a folder.

    Raises:
        DamagedFile: ``submission.json`` is damaged, or missing.
    """
    values = read_json(folder / FILE)
    if values is None:
        raise DamagedFile(f"{folder / FILE} is missing")
    return parse_submission(values, folder / FILE)


def parse_submission(values: JsonDict, path: Path) -> Submission:
    """The submission that a file holds.

    Raises:
        DamagedFile: it holds something else.
    """
    try:
        return build(Submission, values, "submission")
    except RequestError as error:
        raise DamagedFile(f"{path} is damaged: {error.message}") from error


def read_submissions(runs: Path) -> list[Submission]:
    """Read every submission of a runs folder, oldest first; a damaged one is logged and left out."""
    found = []
    try:
        folders = sorted(path for path in (runs / FOLDER).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("cannot read %s: %s; no jobs are shown", runs / FOLDER, error.strerror)
        return []
    for path in (folder / FILE for folder in folders):
        try:
            values = read_json(path)
            if values is not None:  # else it is being submitted
                found.append(parse_submission(values, path))
        except DamagedFile as error:
            log.warning("%s; its jobs are not shown", error.message)
    return found
