"""The launcher interface, and the launcher that runs everything in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.errors import RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protocols.run import Run
    from protocols.runner import Place
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


def inline(runs: Iterable[Run], place: Place, monitor: Monitor) -> Iterator[Outcome]:
    """Carry runs out in this process, one after the other; a run that fails touches no other.

    Raises:
        KeyboardInterrupt: the monitor's watch asked to stop.
    """
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
