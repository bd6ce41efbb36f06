"""Text of others, such as names and reasons of failures, made harmless for a terminal and any other reader."""

from __future__ import annotations

import io
import re
import sys

FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # control characters, with which sequences for a terminal begin
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the order in which others are shown
    r"\u2028\u2029"  # end a line
    r"\ud800-\udfff]"  # bytes of a file's name that are not UTF-8
)
"""Characters that are not shown but do something."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Text whose control characters are written out, ``\x1b`` for an escape; all others are as they were.

    Args:
        text: of anyone.
        keep: control characters that stay.
    """
    if text.isprintable():
        return text
    return FORBIDDEN.sub(lambda found: found[0] if found[0] in keep else written_out(found[0]), text)


def written_out(letter: str) -> str:
    """One character as Python's source writes it."""
    return letter.encode("unicode_escape").decode("ascii")


def accept_every_character() -> None:
    """Let standard output and error replace characters that their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
