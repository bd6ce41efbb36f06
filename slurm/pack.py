"""From runs to jobs: runs that ask for the same go out together, short ones share a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from slurm.units import minutes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from protocols.spec.run import Run
    from slurm.profile import Profile, Profiles

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Tasks that go out as one array.

    Attributes:
        profile: what each of its jobs asks for.
        tasks: the runs of each job.
        parallel: jobs at a time, at most; 0 for no limit.
        after: number of the batch that must have ended before; None if it need not wait.
    """

    profile: Profile
    tasks: tuple[tuple[Run, ...], ...]
    parallel: int
    after: int | None


def batches(
    runs: Iterable[Run], profiles: Profiles, largest: int, estimate: Callable[[Sequence[Run]], Sequence[float]]
) -> list[Batch]:
    """What to send, in the order of the runs within each profile.

    Args:
        runs: to be carried out.
        profiles: what each asks for.
        largest: tasks in an array at most.
        estimate: the seconds that each of some runs will take; asked only for profiles that pack by time.
    """
    groups: dict[str, tuple[Profile, list[Run]]] = {}
    for run in runs:
        profile = profiles.of(run)
        groups.setdefault(repr(profile), (profile, []))[1].append(run)
    made: list[Batch] = []
    for profile, members in groups.values():
        tasks = list(packed(members, profile, estimate))
        chunks = list(chunked(tasks, largest if profile.array else 1))
        # A limit holds for all arrays together: they share it, or take turns where there are more of them.
        lanes = min(profile.max_parallel, len(chunks))
        for number, chunk in enumerate(chunks):
            after = len(made) - lanes if lanes and number >= lanes else None
            made.append(Batch(profile, chunk, profile.max_parallel // lanes if lanes else 0, after))
    return made


def packed(
    runs: Sequence[Run], profile: Profile, estimate: Callable[[Sequence[Run]], Sequence[float]]
) -> Iterator[tuple[Run, ...]]:
    """The runs of each job: a number of them, or as many as take about so long; at least one."""
    if not profile.minutes_per_job:
        yield from chunked(runs, profile.runs_per_job)
        return
    most, used = 60 * minutes(profile.minutes_per_job), 0.0
    task: list[Run] = []
    for run, seconds in zip(runs, estimate(runs), strict=True):
        if task and used + seconds > most:
            yield tuple(task)
            used, task = 0.0, []
        used += seconds
        task.append(run)
    yield tuple(task)


def chunked(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    """The items in tuples of ``size``; the last may be shorter."""
    yield from (tuple(items[start : start + size]) for start in range(0, len(items), size))
