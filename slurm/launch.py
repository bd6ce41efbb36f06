"""The launcher interface, and the choice between its two forms on one machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.place import cores, room
from results.errors import RequestError, RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.place import Place
    from protocols.run import Run
    from protocols.watch import Watch
    from results.record import Record


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: which.
        record: what it left; None if it failed.
        reason: why it failed.
    """

    run: Run
    record: Record | None
    reason: str = ""


class Monitor:
    """Hears of runs as a launcher carries them out."""

    def begins(self, run: Run) -> Watch:
        """A run begins; returns who hears of its progress."""
        raise NotImplementedError

    def ends(self, outcome: Outcome) -> None:
        """A run is over."""


def launch(
    runs: Sequence[Run], place: Place, monitor: Monitor, *, jobs: int | None = None, per_gpu: int = 1
) -> Iterator[Outcome]:
    """Carry runs out on this machine; a run that fails touches no other.

    Args:
        runs: to be carried out, begun in this order.
        place: where.
        monitor: hears of them.
        jobs: runs at a time; by default ``per_gpu`` on each GPU, or one a core, which is what small backbones use best.
        per_gpu: runs at a time on one GPU.

    Yields:
        How each run ended, as it ends.

    Raises:
        KeyboardInterrupt: a watch asked to stop; the runs have kept their state.
    """
    from slurm.pool import pool

    places = places_for(place, min(jobs or len(runs), len(runs)), every=jobs is not None, per_gpu=per_gpu)
    if len(places) == 1:
        return inline(runs, place, monitor)
    return pool(runs, places, monitor, threads=max(1, cores() // len(places)))


def places_for(place: Place, jobs: int, *, every: bool, per_gpu: int = 1) -> list[Place]:
    """A place for each of at most ``jobs`` runs at a time, GPUs in turn; ranks of a run have neighbouring ones.

    More than ``per_gpu`` on a GPU, or one a core, only if ``every`` is wanted.

    Raises:
        RequestError: there are fewer GPUs than ranks.
    """
    from protocols.hardware import choose_device

    if choose_device(place.device).type != "cuda":
        return [place] * (jobs if every else max(1, min(jobs, room() // place.ranks)))
    devices = first_devices(place)
    count = jobs if every else min(jobs, per_gpu * len(devices))
    return [dataclasses.replace(place, device=devices[i % len(devices)]) for i in range(count)]


def first_devices(place: Place) -> list[str]:
    """The GPUs of the first ranks of runs."""
    found = gpus()
    if place.device not in ("auto", "cuda"):
        first = int(place.device.partition(":")[2] or 0)
        found = found[first : first + place.ranks]
    if len(found) < place.ranks:
        raise RequestError(f"--ranks {place.ranks} wants as many GPUs; from {place.device} on there are {len(found)}")
    return found[:: place.ranks][: len(found) // place.ranks]


def gpus() -> list[str]:
    """The GPUs of this machine, by torch's names."""
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def inline(runs: Sequence[Run], place: Place, monitor: Monitor) -> Iterator[Outcome]:
    """:func:`launch` in this process, one run after the other."""
    from protocols.hardware import prepare_process
    from protocols.runner import execute

    prepare_process()
    for run in runs:
        try:
            outcome = Outcome(run, execute(run, place, monitor.begins(run)))
        except RunFailed as failure:
            outcome = Outcome(run, None, failure.message)
        monitor.ends(outcome)
        yield outcome
