"""The errors that the harness raises.

BenchError                one line that says what is wrong, and a hint that says what to do
├── RequestError          the request is wrong; found before any work starts (exit 2)
│   ├── UnknownName       a method, data set, … that is not registered; suggests the nearest names
│   ├── BrokenPlugin      a registered plugin that does not load
│   └── DataMissing       a data set that is not on this machine
├── DamagedFile           a stored file is not what was written
├── ForeignFile           a stored file belongs to another run, data set or machine
└── RunFailed             one run failed; the others continue (exit 1)
    ├── Diverged          its loss became NaN or infinite
    └── Busy              another process is running it
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class BenchError(Exception):
    """Base of all: ``message`` says what is wrong, ``hint`` (may be empty) what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line that the command line prints, instead of a traceback."""
        return [f"bench: {self}"]


class RequestError(BenchError):
    """The request is wrong; nothing was started."""


class UnknownName(RequestError):
    """A name that is not among the ``known`` ones of its ``kind``."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}", hint=nearest(name, known))


class BrokenPlugin(RequestError):
    """A plugin was found but does not load."""


class DataMissing(RequestError):
    """A data set is missing or damaged."""


class DamagedFile(BenchError):
    """A stored file is not what was written: cut off, changed, or not readable."""


class ForeignFile(BenchError):
    """A stored file belongs to something else than what it lies beside."""


class RunFailed(BenchError):
    """One run failed; the reason is stored in its folder.

    Attributes:
        needs_new_process: whether the next run is better executed by another process, since memory or the GPU of this
            one failed.
    """

    needs_new_process = False


class Diverged(RunFailed):
    """The loss became NaN or infinite."""


class Busy(RunFailed):
    """Another process is running it."""


MOST_NAMES = 60
"""Names that a hint lists."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known ones, whatever their case, or all of them."""
    names = sorted(known)
    by_lower = {known_name.lower(): known_name for known_name in names}
    close = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(names) > MOST_NAMES:
        return f"there are {len(names):,}: {', '.join(names[:MOST_NAMES])}, …"
    return f"there are: {', '.join(names)}" if names else "there are none"


def describe(error: BaseException) -> str:
    """Kind and message of an exception that code of others raised, in one line."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - its class is of others too
        message = "its message cannot be shown"
    return f"{type(error).__name__}: {' '.join(message.split())}".removesuffix(": ")
