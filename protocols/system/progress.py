"""How a run reports its progress, and learns that it should stop."""

from __future__ import annotations


class ProgressListener:
    """Receives a run's progress. This one ignores it."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage begins, or continues after another within it.

        Args:
            name: of the stage.
            total: its units: views in ``pretrain``, evaluations in ``evaluate``, whatever suits other stages.
            done: units done before.
        """

    def progress(self, done: int, note: str = "") -> None:
        """``done`` units of the stage are done."""

    def advance_or_stop(self, done: int, note: str = "") -> None:
        """:meth:`progress`, for work that keeps no state.

        Raises:
            KeyboardInterrupt: the run was asked to stop.
        """
        self.progress(done, note)
        if self.stopping():
            raise KeyboardInterrupt

    def warn(self, text: str) -> None:
        """Something the user should know."""

    def stopping(self) -> bool:
        """Whether the run was asked to stop; it then saves its state and raises KeyboardInterrupt."""
        return False
