"""One colour and marker per method, the same in every figure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Okabe & Ito's colours that are dark enough for a line on white, then two of Tol's.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
MARKERS = ("o", "s", "D", "^", "v", "P", "p", "<", ">")


@dataclass(frozen=True)
class Look:
    """How a method is drawn everywhere."""

    colour: str
    marker: str


ANCHOR_LOOKS = {"supervised": Look("#000000", "*"), "random": Look("#777777", "X")}


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for every method, by its label.

    It hangs on the label alone, save where two would share one: there the later in the alphabet takes the next.
    """
    found: dict[str, Look] = {}
    free = [(turn, colour) for turn in range(len(MARKERS)) for colour in range(len(COLOURS))]
    for method in sorted({*methods}):
        if method in ANCHOR_LOOKS:
            found[method] = ANCHOR_LOOKS[method]
            continue
        start = zlib.crc32(method.encode()) % len(COLOURS)
        turn, colour = min(free, key=lambda place: (place[0], (place[1] - start) % len(COLOURS)))
        free = [place for place in free if place != (turn, colour)] or [(turn, colour)]
        found[method] = Look(COLOURS[colour], MARKERS[(colour + turn) % len(MARKERS)])
    return found
