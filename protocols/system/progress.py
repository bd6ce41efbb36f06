"""The interface by which a run reports progress and is asked to stop."""

from __future__ import annotations


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

    def warn(self, text: str) -> None:
        """Report a warning to the user."""

    def stopping(self) -> bool:
        """Whether the run was asked to stop; it then saves its state and raises KeyboardInterrupt."""
        return False
