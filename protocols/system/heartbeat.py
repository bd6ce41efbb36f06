"""A heartbeat file in a run's folder, for other processes that watch the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from protocols.system.progress import ForwardingListener
from results.store import HEARTBEAT, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.system.progress import ProgressListener

HEARTBEAT_INTERVAL_S = 5.0
"""Seconds between two writes of the heartbeat file."""


class Heartbeat(ForwardingListener):
    """Forwards progress to another listener, and writes it to the heartbeat file every few seconds.

    A nested stage without notes keeps the last note.

    Args:
        folder: of the run.
        listener: that progress is forwarded to.
    """

    def __init__(self, folder: Path, listener: ProgressListener) -> None:
        super().__init__(listener)
        self.folder = folder
        self._stage, self._note, self._total, self._stage_start, self._last_write = "", "", 0, 0.0, 0.0
        self._first_done: int | None = None

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Start or continue a stage, and write the heartbeat."""
        self._stage, self._total, self._stage_start, self._first_done = name, total, time.monotonic(), None
        self._write(done)
        self.listener.stage(name, total, done)

    def progress(self, done: int, note: str = "") -> None:
        """Forward the progress, and write the heartbeat if the interval has passed."""
        self._note = note or self._note
        first = self._first_done is None
        if first:  # the first step also compiles and fills caches, so that it is not timed
            self._first_done, self._stage_start = done, time.monotonic()
        if first or time.monotonic() - self._last_write >= HEARTBEAT_INTERVAL_S:
            self._write(done)
        self.listener.progress(done, self._note)

    def _write(self, done: int) -> None:
        self._last_write = time.monotonic()
        seconds = self._last_write - self._stage_start
        rate = max(0, done - (self._first_done or 0)) / seconds if seconds > 0 else 0.0
        left = max(0, self._total - done) / rate if rate > 0 else None
        content = {"stage": self._stage, "done": done, "total": self._total, "note": self._note, "time": time.time()}
        write_json(self.folder / HEARTBEAT, {**content, "per_second": rate, "seconds_left": left})
