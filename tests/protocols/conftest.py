"""What tests of the training loop share."""

import pytest

from protocols.system.progress import ProgressListener


class StopAfter(ProgressListener):
    """Asks to stop after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def stopping(self) -> bool:
        self.steps -= 1
        return self.steps < 0


@pytest.fixture
def stop_after():
    """Makes a listener that asks to stop after so many steps."""
    return StopAfter
