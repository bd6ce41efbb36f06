"""Times and amounts of memory as people write them."""

from __future__ import annotations

import re

from results.errors import RequestError

TIMES = "write it like 90m, 1h30 or 1-00:00:00"
MEMORIES = "write it like 8G or 800M"

_WORDS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT])i?B?")


def minutes(text: str | int) -> int:
    """A length of time in whole minutes, rounded up.

    ``90`` and ``90m`` are minutes, ``1h30``, ``1d12h`` and ``45s`` speak for themselves, and with colons it is as
    SLURM reads it: ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS``.

    Raises:
        RequestError: it is none of these, or no time at all.
    """
    written = str(text).strip().lower().replace("min", "m")
    spelt = written + "m" if re.fullmatch(r"(?:.*h)?\d+", written) else written
    if written and (match := _WORDS.fullmatch(spelt)):
        seconds = _seconds(*match.groups())
    elif match := _CLOCK.fullmatch(written):
        seconds = _clock_seconds(*match.groups())
    else:
        seconds = 0
    if not seconds:
        raise RequestError(f"{text!r} is not a length of time", hint=TIMES)
    return -(-seconds // 60)


def _clock_seconds(days: str | None, first: str, second: str | None, third: str | None) -> int:
    if days is None and third is None:
        return _seconds(None, None, first, second)
    return _seconds(days, first, second, third)


def _seconds(days: str | None, hours: str | None, mins: str | None, seconds: str | None) -> int:
    return ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(mins or 0)) * 60 + int(seconds or 0)


def memory(text: str) -> int:
    """An amount of memory in bytes; its unit must be given, since tools differ in what they take for granted.

    Raises:
        RequestError: it is none.
    """
    match = _MEMORY.fullmatch(text.strip().upper().replace("IB", "B"))
    if not match:
        raise RequestError(f"{text!r} is not an amount of memory", hint=MEMORIES)
    return int(float(match[1]) * 1024 ** (1 + "KMGT".index(match[2])))
