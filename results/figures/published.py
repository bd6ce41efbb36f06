"""Figures of papers, drawn again with our points in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from results.figures import register_figure
from results.figures.style import LEGEND_COLUMNS, LINES, add_method_legend, make_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from results.figures.data import FigureData

PUBLISHED = "published"
"""The origin whose line style is reserved: the last one."""


@register_figure("published")
def published(data: FigureData) -> Figure | None:
    """Published points (open, with standard deviations where known) beside ours (filled, with 95 % intervals).

    Those on one line share a protocol.
    """
    points, styles = data.points, data.styles
    if points.empty:
        return None
    origins = sorted(points["origin"].unique(), key=PUBLISHED.__eq__)
    strokes: dict[str, dict[str, Any]] = {origin: {"ls": LINES[i % 3]} for i, origin in enumerate(origins)}
    strokes[PUBLISHED] = {"ls": LINES[3], "markerfacecolor": "white"}
    panels, first = list(points.groupby("panel", sort=False)), points.iloc[0]
    legend = LEGEND_COLUMNS * max(len(data.methods), len(origins))
    figure, all_axes = make_panels(
        len(panels), 2, 1.8, first["xlabel"], first["ylabel"], legend=legend, width=data.width
    )
    for axes, (title, of_panel) in zip(all_axes, panels, strict=True):
        for key, line in of_panel.groupby(["method", "origin"], sort=False):
            method, origin = map(str, key)
            # Shifted a little, so that no interval hides another.
            x = line["x"] * (1 + 0.03 * origins.index(origin))
            stroke = {"color": styles[method].colour, "marker": styles[method].marker, **strokes[origin]}
            stroke |= {"ls": "none"} if line["x_label"].any() else {}
            axes.errorbar(x, line["value"], line["half"], elinewidth=0.8, **stroke)
        axes.set_title(str(title))
        axes.set_xscale("linear" if of_panel["x_label"].any() else "log")
        ticks = of_panel.drop_duplicates("x").sort_values("x")
        labels = [label or f"{x:g}" for label, x in zip(ticks["x_label"], ticks["x"], strict=True)]
        axes.set_xticks(ticks["x"], labels)
        axes.xaxis.set_minor_locator(NullLocator())
    add_method_legend(figure, data.methods, styles, loc="outside lower left", ncols=1)
    handles = [Line2D([], [], color="#333333", marker="o", **strokes[origin]) for origin in origins]
    figure.legend(handles, origins, loc="outside lower right")
    return figure
