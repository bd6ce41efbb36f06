"""What was sent to SLURM: ``<runs>/.submissions/<id>/``.

    submission.json     tasks (lists of run folders), the arrays they went out in, their job ids, the code
    code/               the code as it was, unless that was not wanted
    plugins/            copies of the Python files that were named on the command line
    log/                what the jobs print, <job id>_<task>_0_log.out

A task is what one job carries out. Everything about a run is in the run's own folder.
"""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.execution import ExecutionContext
from protocols.spec.schema import build
from results.store import now, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = ".submissions"
FILE = "submission.json"
LOG = "log"


@dataclass(frozen=True)
class Array:
    """Tasks that went out together.

    Attributes:
        first: number of its first task.
        size: how many tasks.
        minutes: time limit of each.
        cpus: of each.
        mem: of each; empty where that is the cluster's choice.
        per_gpu: runs at a time on each GPU.
        job: SLURM's id; empty until SLURM has taken it.
    """

    first: int
    size: int
    minutes: int
    cpus: int = 1
    mem: str = ""
    per_gpu: int = 1
    job: str = ""

    def job_of(self, task: int) -> str:
        """SLURM's id of one of its tasks; empty if SLURM has not taken it."""
        return f"{self.job}_{task - self.first}" if self.job and self.size > 1 else self.job


@dataclass(frozen=True)
class Submission:
    """A submission.

    Attributes:
        runs: folder of the runs.
        data: folder of the data sets.
        device: to be used.
        plain: see ``ExecutionContext``.
        id: of the submission.
        created: when.
        command: the command line.
        code: digest of the code that was submitted.
        root: the folder that the code is imported from.
        tasks: names of run folders, for each task.
        arrays: what the tasks went out in.
        ranks: see ``ExecutionContext``.
    """

    runs: str
    data: str
    device: str
    plain: bool
    id: str
    created: str
    command: str
    code: str
    root: str
    tasks: tuple[tuple[str, ...], ...]
    arrays: tuple[Array, ...]
    ranks: int = 1

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return Path(self.runs) / FOLDER / self.id

    @property
    def place(self) -> ExecutionContext:
        """Where its runs are carried out."""
        return ExecutionContext(Path(self.runs), Path(self.data), self.device, self.plain, self.ranks)

    def array_of(self, task: int) -> Array:
        """What a task went out in."""
        return next(array for array in self.arrays if array.first <= task < array.first + array.size)

    def jobs(self) -> Iterator[tuple[str, Array, tuple[str, ...]]]:
        """Each job that SLURM has taken: its id, its array and its runs."""
        for array in self.arrays:
            for task in range(array.first, array.first + array.size) if array.job else ():
                yield array.job_of(task), array, self.tasks[task]

    def taken(self, number: int, job: str) -> Submission:
        """The same, after SLURM took the array of this number."""
        arrays = list(self.arrays)
        arrays[number] = dataclasses.replace(arrays[number], job=job)
        return dataclasses.replace(self, arrays=tuple(arrays))

    def log_of(self, job: str) -> Path:
        """What a job prints."""
        return self.folder / LOG / f"{job}_0_log.out"

    def write(self) -> None:
        """Store it."""
        write_json(self.folder / FILE, dataclasses.asdict(self))


def new_id() -> str:
    """An id that sorts by time and is nobody else's."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def new(
    context: ExecutionContext,
    *,
    name: str,
    command: str,
    code: str,
    root: str,
    tasks: Sequence[Sequence[str]],
    arrays: Sequence[Array],
) -> Submission:
    """A submission that nobody has seen yet; its paths are absolute, since jobs may begin anywhere."""
    return Submission(
        runs=str(context.runs.resolve()),
        data=str(context.data.resolve()),
        device=context.device,
        reference=context.reference,
        id=name,
        created=now(),
        command=command,
        code=code,
        root=root,
        tasks=tuple(map(tuple, tasks)),
        arrays=tuple(arrays),
        ranks=context.ranks,
    )


def read(folder: Path) -> Submission:
    """The submission in a folder.

    Raises:
        ValueError, RequestError: it is damaged.
        FileNotFoundError: there is none.
    """
    values: dict[str, Any] | None = read_json(folder / FILE)
    if values is None:
        raise FileNotFoundError(folder / FILE)
    arrays = tuple(Array(**array) for array in values.pop("arrays"))
    return dataclasses.replace(build(Submission, {**values, "arrays": ()}, "submission"), arrays=arrays)


def submissions(runs: Path) -> list[Submission]:
    """Every submission of a runs folder, oldest first; one of which nothing can be read is passed over."""
    return [read(path.parent) for path in sorted(runs.glob(f"{FOLDER}/*/{FILE}"))]
