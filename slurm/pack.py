"""Groups runs into jobs, and jobs into job arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from slurm.units import parse_minutes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from protocols.spec.run import Run
    from slurm.profile import Profile, Profiles

T = TypeVar("T")


@dataclass(frozen=True)
class ArrayBatch:
    """Tasks that are submitted together, as one job array.

    Attributes:
        profile: resources of each job.
        tasks: the runs of each job.
        parallel: maximum number of jobs at a time; 0 for no limit.
        after: index of the batch that must end before this one starts; None if it does not wait.
    """

    profile: Profile
    tasks: tuple[tuple[Run, ...], ...]
    parallel: int
    after: int | None


def pack_runs(
    runs: Iterable[Run], profiles: Profiles, max_array_size: int, estimate: Callable[[Sequence[Run]], Sequence[float]]
) -> list[ArrayBatch]:
    """Group runs with the same profile into jobs and job arrays; within a profile they keep their order.

    Args:
        runs: to be submitted.
        profiles: the profile of each run.
        max_array_size: maximum number of jobs in an array.
        estimate: returns the seconds that each of some runs takes; called for profiles with ``minutes_per_job`` only.
    """
    groups: dict[str, tuple[Profile, list[Run]]] = {}
    for run in runs:
        profile = profiles.for_run(run)
        groups.setdefault(repr(profile), (profile, []))[1].append(run)
    batches: list[ArrayBatch] = []
    for profile, members in groups.values():
        chunks = list(chunked(list(tasks_of(members, profile, estimate)), max_array_size if profile.array else 1))
        # max_parallel holds for all arrays together. Up to that many arrays run at a time and divide it among them;
        # each further array waits for an earlier one to end.
        lanes = min(profile.max_parallel, len(chunks))
        for number, chunk in enumerate(chunks):
            after = len(batches) - lanes if lanes and number >= lanes else None
            batches.append(ArrayBatch(profile, chunk, profile.max_parallel // lanes if lanes else 0, after))
    return batches


def tasks_of(
    runs: Sequence[Run], profile: Profile, estimate: Callable[[Sequence[Run]], Sequence[float]]
) -> Iterator[tuple[Run, ...]]:
    """The runs of each job: ``runs_per_job``, or at least one and as many as take ``minutes_per_job``."""
    if not profile.minutes_per_job:
        yield from chunked(runs, profile.runs_per_job)
        return
    limit, used = 60 * parse_minutes(profile.minutes_per_job), 0.0
    task: list[Run] = []
    for run, seconds in zip(runs, estimate(runs), strict=True):
        if task and used + seconds > limit:
            yield tuple(task)
            used, task = 0.0, []
        used += seconds
        task.append(run)
    yield tuple(task)


def chunked(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    """The items in tuples of ``size``; the last one may be shorter."""
    yield from (tuple(items[start : start + size]) for start in range(0, len(items), size))
