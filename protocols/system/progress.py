"""The interface by which a run reports progress and is asked to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.record import Record


class ProgressListener:
    """Receives the progress of a run; this base class ignores it."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage starts, or continues after a nested stage.

        Args:
            name: of the stage.
            total: number of units: views in ``pretrain``, evaluations in ``evaluate``, any unit in other stages.
            done: units that are done already.
        """

    def progress(self, done: int, note: str = "") -> None:
        """Report that ``done`` units of the stage are done."""

    def advance_or_stop(self, done: int, note: str = "") -> None:
        """:meth:`progress`, for work that saves no state.

        Raises:
            KeyboardInterrupt: the run was asked to stop.
        """
        self.progress(done, note)
        if self.stopping():
            raise KeyboardInterrupt

    def epoch_end(self, line: Mapping[str, Any]) -> None:
        """An epoch of pretraining has ended.

        Args:
            line: of the record's history: ``epoch``, ``loss`` and the method's other scalars as means of the epoch,
                ``lr``, ``views`` and ``seconds`` so far, and ``knn_top1`` where it was measured.
        """

    def run_end(self, record: Record) -> None:
        """The run is finished and everything was measured."""

    def warn(self, text: str) -> None:
        """Report a warning to the user."""

    def stopping(self) -> bool:
        """Whether the run was asked to stop; it then saves its state and raises KeyboardInterrupt."""
        return False


class ForwardingListener(ProgressListener):
    """Forwards everything to another listener; the base of those that do something beside.

    Args:
        listener: that is forwarded to.
    """

    def __init__(self, listener: ProgressListener) -> None:
        self.listener = listener

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Forward the start of a stage."""
        self.listener.stage(name, total, done)

    def progress(self, done: int, note: str = "") -> None:
        """Forward the progress."""
        self.listener.progress(done, note)

    def epoch_end(self, line: Mapping[str, Any]) -> None:
        """Forward the end of an epoch."""
        self.listener.epoch_end(line)

    def run_end(self, record: Record) -> None:
        """Forward the end of the run."""
        self.listener.run_end(record)

    def warn(self, text: str) -> None:
        """Forward a warning."""
        self.listener.warn(text)

    def stopping(self) -> bool:
        """Whether the listener asks to stop."""
        return self.listener.stopping()
