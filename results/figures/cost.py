"""Accuracy against what pretraining cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.figures import register_figure
from results.figures.accuracy import results_of
from results.figures.style import add_method_legend, clip_to_percent, make_panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.analysis.tables import ResultCell
    from results.figures.data import FigureData
    from results.figures.markers import MarkerStyle


@register_figure("cost")
def cost(data: FigureData) -> Figure | None:
    """Accuracy against the cost of pretraining, by the first evaluation of each data set.

    Mean (marker), 95 % interval over seeds (bar) and single seeds (dots). The dotted line needs no training.
    """
    table = data.table
    if table is None or not table.rows:
        return None
    # Seconds compare only where one device trained all methods.
    key, unit, word = "pretrain_seconds", 1.0, "seconds of pretraining"
    if data.results["device"].nunique() > 1:
        key, unit, word = "views", 1e6, "million views"
    first: dict[str, int] = {}
    for index, column in enumerate(table.columns):
        first.setdefault(column.data, index)
    figure, panels = make_panels(len(first), 2, 1.4, word, "accuracy (%)", legend=len(table.rows))
    for axes, index in zip(panels, first.values(), strict=True):
        column = table.columns[index]
        results = results_of(column, data.results)
        for row in table.rows:
            cell, seeds = row.cells[index], results[results["method"] == row.method]
            if cell is not None:
                draw_cost(axes, seeds[key] / unit, seeds["value"], cell, data.styles[row.method])
        axes.set_title(f"{column.data}, {column.measure}")
        axes.set_ylim(clip_to_percent(axes.get_ylim(), results["value"]))
        axes.set_xlim(left=0)
    add_method_legend(figure, data.methods, data.styles)
    return figure


def draw_cost(
    axes: Axes, spent: pd.Series[float], values: pd.Series[float], cell: ResultCell, style: MarkerStyle
) -> None:
    """The seeds and their mean with its interval; a line across for what cost nothing."""
    if spent.max() > 0:
        axes.plot(spent, values, ".", color=style.colour, ms=3, mew=0, alpha=0.7)
        bar: dict[str, Any] = {"elinewidth": 0.9, "capsize": 2.2, "capthick": 0.9}
        axes.errorbar(spent.mean(), cell.mean, yerr=cell.half, fmt=style.marker, color=style.colour, **bar)
    else:
        axes.axhline(cell.mean, color=style.colour, lw=0.7, ls=":")
        axes.plot(0, cell.mean, style.marker, color=style.colour, clip_on=False)
