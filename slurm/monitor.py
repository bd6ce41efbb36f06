"""What a launcher reports to its caller: the start, the progress and the end of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.spec.run import Run
    from protocols.system.progress import ProgressListener
    from results.record import Record


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        run: the run.
        record: what was measured; None if the run failed.
        reason: why the run failed.
        busy: whether it did not start, since another process is running it.
    """

    run: Run
    record: Record | None
    reason: str = ""
    busy: bool = False


class Monitor:
    """Receives callbacks from a launcher."""

    def on_run_start(self, run: Run) -> ProgressListener:
        """Called when a run starts; returns the listener that receives its progress."""
        raise NotImplementedError

    def on_run_end(self, outcome: Outcome) -> None:
        """Called when a run has finished or failed, or is being run by another process."""
