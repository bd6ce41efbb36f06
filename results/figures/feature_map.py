"""Maps of features: images as points on a plane, coloured by class, before and after a refinement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.lines import Line2D

from results.figures.markers import COLOURS, MARKERS
from results.figures.style import FORMATS, LEGEND_COLUMNS, STYLE, make_panels
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

MOST_CLASSES = 12
"""Classes in the legend; points of further classes are grey."""


@mpl.rc_context(STYLE)
def write_feature_map(
    path: Path, maps: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Write a PNG with one panel per map, the same bytes for the same numbers.

    Args:
        path: of the file.
        maps: (n, 2) points, by title.
        labels: (n,) classes of the points.
        classes: their names.

    Raises:
        OSError: it cannot be written.
    """
    shown_classes = classes[:MOST_CLASSES]
    figure, panels = make_panels(len(maps), 2, 1.7, "first component", "second component", legend=len(shown_classes))
    styles: list[dict[str, Any]] = [
        {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "ls": "none"}
        for number in range(len(shown_classes))
    ]
    for axes, (title, points) in zip(panels, maps.items(), strict=True):
        axes.plot(*points[labels >= len(shown_classes)].T, ".", color="#cccccc", ms=2, mew=0)
        for number, style in enumerate(styles):
            axes.plot(*points[labels == number].T, **style, ms=2, mew=0, alpha=0.7)
        axes.set_title(title)
        axes.set_aspect("equal", adjustable="datalim")
    figure.legend(
        [Line2D([], [], **style) for style in styles], shown_classes, loc="outside lower center", ncols=LEGEND_COLUMNS
    )
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", metadata=FORMATS["png"]))
