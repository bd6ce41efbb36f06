"""Maps: images as points on a plane, coloured by class, before and after something was done to their features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.lines import Line2D

from results.looks import COLOURS, MARKERS
from results.plots import ENTRIES, STYLE, UNDATED, panels_of
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CLASSES = 12
"""Named in the legend, at most; points of further classes are grey."""


@mpl.rc_context(STYLE)
def draw_maps(
    path: Path, maps: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Write a PNG with a panel for each map, the same bytes for the same numbers.

    Args:
        path: of the file.
        maps: (n, 2) points, by title.
        labels: (n,) classes of the points.
        classes: their names.

    Raises:
        OSError: it cannot be written.
    """
    named = classes[:CLASSES]
    figure, panels = panels_of(len(maps), 2, 1.7, "first component", "second component", legend=len(named))
    for axes, (title, points) in zip(panels, maps.items(), strict=True):
        rest = points[labels >= len(named)]
        axes.plot(*rest.T, ".", color="#cccccc", ms=2, mew=0)
        for number in range(len(named)):
            axes.plot(*points[labels == number].T, **look(number), ls="none", ms=2, mew=0, alpha=0.7)
        axes.set_title(title)
        axes.set_aspect("equal", adjustable="datalim")
    handles = [Line2D([], [], ls="none", **look(number)) for number in range(len(named))]
    figure.legend(handles, named, loc="outside lower center", ncols=ENTRIES)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", metadata=UNDATED["png"]))


def look(number: int) -> dict[str, Any]:
    """Colour and marker of a class."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
