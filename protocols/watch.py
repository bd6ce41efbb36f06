"""How a run tells the world how it gets on."""

from __future__ import annotations


class Watch:
    """Hears of a run's progress; this one says nothing."""

    def stage(self, name: str, total: int) -> None:
        """A stage begins that will take ``total`` units: ``pretrain`` in views, others in what suits them."""

    def progress(self, done: int, note: str = "") -> None:
        """So many units of the stage are done."""

    def warn(self, text: str) -> None:
        """Something the user should know."""

    def stopping(self) -> bool:
        """Whether the run was asked to stop; it then keeps its state and raises KeyboardInterrupt."""
        return False
