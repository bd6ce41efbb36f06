"""Parses durations and amounts of memory."""

from __future__ import annotations

import re

from results.errors import RequestError

DURATION_HINT = "write it like 90m, 1h30 or 1-00:00:00"
MEMORY_HINT = "write it like 8G or 800M"

_N = r"(\d{1,9})"
_WITH_UNITS = re.compile(f"(?:{_N}d)?(?:{_N}h)?(?:{_N}m)?(?:{_N}s)?")
_WITH_COLONS = re.compile(f"(?:{_N}-)?{_N}(?::{_N})?(?::{_N})?")
_MEMORY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([KMGT])i?B?")


def parse_minutes(text: str | int) -> int:
    """A duration in whole minutes, rounded up.

    ``90`` and ``90m`` are minutes; ``1h30``, ``1d12h`` and ``45s`` have units; with colons it is read as SLURM does:
    ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS``.

    Raises:
        RequestError: the text has none of these forms, or the duration is zero.
    """
    written = str(text).strip().lower().replace("min", "m")
    with_unit = written + "m" if re.fullmatch(r"(?:.*h)?\d+", written) else written
    if written and (match := _WITH_UNITS.fullmatch(with_unit)):
        seconds = _seconds(*match.groups())
    elif match := _WITH_COLONS.fullmatch(written):
        days, first, second, third = match.groups()
        without_hours = days is None and third is None
        seconds = _seconds(None, None, first, second) if without_hours else _seconds(days, first, second, third)
    else:
        seconds = 0
    if not seconds:
        raise RequestError(f"{text!r} is not a length of time", hint=DURATION_HINT)
    return -(-seconds // 60)


def _seconds(days: str | None, hours: str | None, mins: str | None, seconds: str | None) -> int:
    return ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(mins or 0)) * 60 + int(seconds or 0)


def parse_memory(text: str) -> int:
    """An amount of memory in bytes; the unit is required, since tools differ in their default.

    Raises:
        RequestError: the text is not an amount of memory.
    """
    if text.strip() == "0":  # all of a node's
        return 0
    match = _MEMORY.fullmatch(text.strip().upper().replace("IB", "B"))
    if not match:
        raise RequestError(f"{text!r} is not an amount of memory", hint=MEMORY_HINT)
    return int(float(match[1]) * 1024 ** (1 + "KMGT".index(match[2])))
