"""Accuracy of every method: mean, interval and single seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from results.analysis.tables import COLUMN_KEYS
from results.figures import register_figure
from results.figures.style import clip_to_percent, make_panels, set_titles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.analysis.tables import ResultCell, ResultColumn
    from results.figures.data import FigureData
    from results.figures.markers import MarkerStyle

MOST_DOTS = 50
"""Seeds of a cell that are shown as dots."""

MOST_DOTTED = 200
"""Cells of a figure up to which single seeds are shown."""

MOST_PANELS = 12
"""Columns that all have a panel."""


@register_figure("accuracy")
def accuracy(data: FigureData) -> Figure | None:
    """Accuracy: mean (marker) and 95 % interval over seeds (bar)."""
    table = data.table
    if table is None or not table.rows:
        return None
    columns = dict(enumerate(table.columns))
    filled = {index: sum(row.cells[index] is not None for row in table.rows) for index in columns}
    if max(filled.values()) > 1:  # a column with one result shows nothing beside others
        columns = {index: column for index, column in columns.items() if filled[index] > 1}
    alone = len(table.columns) - len(columns)
    several = len(columns)
    if len(columns) > MOST_PANELS:
        firsts: dict[str, int] = {}
        for index, column in columns.items():
            firsts.setdefault(column.data, index)
        columns = {index: columns[index] for index in firsts.values()}
    dotted = len(columns) * len(table.rows) <= MOST_DOTTED
    height = 0.45 + 0.19 * len(table.rows)
    figure, panels = make_panels(len(columns), 2, height, "accuracy (%)", sharey=True, width=data.width)
    levels = {row.method: level for level, row in enumerate(table.rows)}
    for axes, (index, column) in zip(panels, columns.items(), strict=True):
        cells = [(level, data.styles[row.method], row.cells[index]) for level, row in enumerate(table.rows)]
        draw_intervals(axes, [(level, style, cell) for level, style, cell in cells if cell is not None])
        seeds = results_of(column, data.results).sort_values("seed", kind="stable")
        x = seeds["value"].to_numpy()
        if dotted:
            seeds = seeds.groupby("method", sort=False).head(MOST_DOTS)
            below = [levels[name] + 0.33 for name in seeds["method"]]
            colours = [data.styles[name].colour for name in seeds["method"]]
            axes.scatter(seeds["value"], below, s=2.6, c=colours, alpha=0.7, linewidths=0)
        axes.set_xlim(clip_to_percent(axes.get_xlim(), x))
        axes.set_ylim(len(table.rows) - 0.4, -0.6)
        axes.set_yticks(range(len(table.rows)), [row.method for row in table.rows])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
        axes.grid(visible=False, axis="y")
    titles = [f"{column.data}, {column.measure}" for column in columns.values()]
    set_titles(figure, panels, titles, max(map(len, levels)))
    most = max(cell.n for row in table.rows for cell in row.cells if cell is not None)
    dots = f"Dots below it are single seeds{f', {MOST_DOTS} at most' * (most > MOST_DOTS)}."
    fewer = f"Of {several} columns the first evaluation of each data set is shown."
    left_out = "Columns with one method are left out."
    said = [dots] * (dotted and most > 1) + [fewer] * (len(columns) < several) + [left_out] * (alone > 0)
    figure.set_label(" ".join(said))
    return figure


def draw_intervals(axes: Axes, cells: Sequence[tuple[int, MarkerStyle, ResultCell]]) -> None:
    """Means and horizontal intervals at their levels; all lines and all their ends at once, for speed."""
    for level, style, cell in cells:
        axes.plot(cell.mean, level, style.marker, color=style.colour)
    known = [(level, style.colour, cell.mean, cell.half) for level, style, cell in cells if cell.half is not None]
    if known:
        levels, colours, means, halves = zip(*known, strict=True)
        low, high = np.subtract(means, halves), np.add(means, halves)
        axes.hlines(levels, low, high, colors=colours, linewidths=0.9)
        ends, twice = np.concatenate([low, high]), [*levels, *levels]
        axes.scatter(ends, twice, s=16, c=[*colours, *colours], marker="|", linewidths=0.9)


def results_of(column: ResultColumn, results: pd.DataFrame) -> pd.DataFrame:
    """The results of a column."""
    return results[(results[COLUMN_KEYS] == [getattr(column, key) for key in COLUMN_KEYS]).all(axis=1)]
