"""A sign of life in a run's folder, for whoever looks from outside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from protocols.system.progress import ProgressListener
from results.store import HEARTBEAT, write_json

if TYPE_CHECKING:
    from pathlib import Path

PERIOD = 5.0
"""Seconds between two beats."""


class Heartbeat(ProgressListener):
    """Passes everything on to another listener, and writes how far the run is every few seconds.

    A stage within another, which has no notes of its own, goes on with the last one.

    Args:
        folder: of the run.
        listener: to pass on to.
    """

    def __init__(self, folder: Path, listener: ProgressListener) -> None:
        self.folder = folder
        self.listener = listener
        self._stage, self._note, self._total, self._began, self._beat = "", "", 0, 0.0, 0.0
        self._first: int | None = None

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Begin a stage, or go on with it, with a beat."""
        self._stage, self._total, self._began, self._first = name, total, time.monotonic(), None
        self._write(done)
        self.listener.stage(name, total, done)

    def progress(self, done: int, note: str = "") -> None:
        """Pass on, and beat if it is time."""
        self._note = note or self._note
        first = self._first is None
        if first:  # it also compiles and fills caches
            self._first, self._began = done, time.monotonic()
        if first or time.monotonic() - self._beat >= PERIOD:
            self._write(done)
        self.listener.progress(done, self._note)

    def _write(self, done: int) -> None:
        self._beat = time.monotonic()
        passed = self._beat - self._began
        rate = (done - (self._first or 0)) / passed if passed > 0 else 0.0
        left = (self._total - done) / rate if rate > 0 else None
        content = {"stage": self._stage, "done": done, "total": self._total, "note": self._note, "time": time.time()}
        write_json(self.folder / HEARTBEAT, {**content, "per_second": rate, "seconds_left": left})

    def warn(self, text: str) -> None:
        """Pass on."""
        self.listener.warn(text)

    def stopping(self) -> bool:
        """Pass on."""
        return self.listener.stopping()
