"""How a run tells the world how it gets on."""

from __future__ import annotations


class Watch:
    """Hears of a run's progress; this one says nothing."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage begins, or goes on after another within it.

        Args:
            name: of the stage.
            total: units that it takes: of ``pretrain`` views, of ``evaluate`` evaluations, of others what suits them.
            done: of them.
        """

    def progress(self, done: int, note: str = "") -> None:
        """So many units of the stage are done."""

    def reach(self, done: int, note: str = "") -> None:
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
        """Whether the run was asked to stop; it then keeps its state and raises KeyboardInterrupt."""
        return False
