"""One colour and marker per method, the same in every figure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.names import Baseline

# Okabe & Ito's colours that are dark enough for a line on white, then two of Tol's.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
MARKERS = ("o", "s", "D", "^", "v", "P", "p", "<", ">")

TRANSDUCTIVE_MARK = "†"
"""Beside the name of a refinement that uses other test images."""


@dataclass(frozen=True)
class MarkerStyle:
    """How a method is drawn in every figure: a colour as ``#rrggbb`` and a marker of matplotlib."""

    colour: str
    marker: str


BASELINE_STYLES = {"upper": MarkerStyle("#000000", "*"), "lower": MarkerStyle("#777777", "X")}


def method_styles(methods: Mapping[str, Baseline]) -> dict[str, MarkerStyle]:
    """A style for every method.

    It depends on the label alone, except where two would share one: there the later in the alphabet takes the next. The
    baselines are black and grey; where there are several of one kind, the shortest label is.

    Args:
        methods: labels, and which baseline they are.
    """
    styles: dict[str, MarkerStyle] = {}
    for kind, style in BASELINE_STYLES.items():
        labels = sorted((label for label, baseline in methods.items() if baseline == kind), key=lambda n: (len(n), n))
        styles |= dict.fromkeys(labels[:1], style)
    free = [(shift, colour) for shift in range(len(MARKERS)) for colour in range(len(COLOURS))]
    for method in sorted(methods.keys() - styles.keys()):
        start = zlib.crc32(method.encode()) % len(COLOURS)
        shift, colour = min(free, key=lambda pair: (pair[0], (pair[1] - start) % len(COLOURS)))
        free = [pair for pair in free if pair != (shift, colour)] or [(shift, colour)]
        styles[method] = MarkerStyle(COLOURS[colour], MARKERS[(colour + shift) % len(MARKERS)])
    return styles
