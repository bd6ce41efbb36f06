"""One colour and marker per method, the same in every figure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.names import BASELINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.names import Baseline

# Okabe & Ito's colours that are dark enough for a line on white, then two of Tol's.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
DARK_COLOURS = ("#4aa6de", "#f08040", "#2fc79a", "#dd9bc0", "#f0b63c", "#86cdf5", "#d1689c", "#bdbd5c")
"""The same on a dark ground."""

MARKERS = ("o", "s", "D", "^", "v", "P", "p", "<", ">")

KNOWN = (
    *("simclr", "relational", "byol", "barlow", "vicreg", "dino", "mocov2", "simsiam"),
    *("nnclr", "swav", "deepcluster", "rotnet", "deepinfomax", "adasim", "graph_nnclr", "mae"),
    *("mocov3", "dcl", "tico", "wmse", "lejepa", "ijepa", "simmim", "ibot"),
    *("ressl", "mmcr", "supcon"),
)
"""Methods whose style is fixed by their position: new ones are added at the end."""

TRANSDUCTIVE_MARK = "†"
"""Beside the name of a refinement that uses other test images."""


@dataclass(frozen=True)
class MarkerStyle:
    """How a method is drawn in every figure: a colour as ``#rrggbb`` and a marker of matplotlib."""

    colour: str
    marker: str


BASELINE_STYLES = {"upper": MarkerStyle("#000000", "*"), "lower": MarkerStyle("#777777", "X")}


def method_styles(methods: Mapping[str, Baseline]) -> dict[str, MarkerStyle]:
    """A style for every method, no two the same as long as there are enough.

    Those of ``KNOWN`` have the same in every report. That of another label depends on the label alone, except where two
    would share one: there the later in the alphabet takes the next. The baselines are black and grey; where there are
    several of one kind, supervised and random are, else the shortest label.

    Args:
        methods: labels, and which baseline they are.
    """
    styles: dict[str, MarkerStyle] = {}
    for kind, style in BASELINE_STYLES.items():
        labels = [label for label, baseline in methods.items() if baseline == kind]
        labels.sort(key=lambda label: (label not in BASELINES, len(label), label))
        styles |= dict.fromkeys(labels[:1], style)
    styles |= {method: style_of(KNOWN.index(method)) for method in KNOWN if method in methods and method not in styles}
    free = list(range(len(KNOWN), len(COLOURS) * len(MARKERS)))
    for method in sorted(methods.keys() - styles.keys()):
        start = zlib.crc32(method.encode()) % len(COLOURS)
        number = min(free, key=lambda index: (index // len(COLOURS), (index - start) % len(COLOURS)))
        free = [index for index in free if index != number] or [number]
        styles[method] = style_of(number)
    return styles


def style_of(number: int) -> MarkerStyle:
    """The style of this number: all colours once, then all with other markers."""
    shift, colour = divmod(number, len(COLOURS))
    return MarkerStyle(COLOURS[colour], MARKERS[(colour + shift) % len(MARKERS)])
