"""Figures at the width of a column: accuracy with intervals, learning curves, accuracy against cost.

Every method has one colour, marker and line style in all of them; no meaning hangs on colour alone. Files come out the
same for the same numbers.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from results.frame import DOTS
from results.store import write_atomically
from results.tables import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

    from results.looks import Look
    from results.tables import Cell, Column, Table

WIDTH = 3.4
"""Of a figure, in inches: one column of a two-column paper."""

ENTRIES = 3
"""Of a legend, side by side."""

STYLE: dict[Any, Any] = {
    **sns.plotting_context("paper", font_scale=0.73),
    **sns.axes_style("ticks"),
    "font.sans-serif": ["DejaVu Sans"],
    "axes.edgecolor": "#000000",
    "axes.grid": True,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    **dict.fromkeys(("xtick.major.width", "ytick.major.width"), 0.6),
    "lines.linewidth": 1.0,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 250,
    "svg.hashsalt": "bench",
    "text.parse_math": False,
    "pdf.fonttype": 42,
}

UNDATED: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}
"""The formats of a figure, and what of their metadata would change from day to day or machine to machine."""

LINES = ("-", "--", "-.", ":")
"""Of data sets."""

OURS, PUBLISHED = LINES[:3], "published"
"""Lines of our points, and whose points the last line is kept for."""


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure in every format, the same bytes for the same numbers.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    with mpl.rc_context(STYLE):
        # Laid out once, not once for each format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for kind, metadata in UNDATED.items():
            paths.append(folder / f"{name}.{kind}")
            write_atomically(paths[-1], partial(figure.savefig, format=kind, metadata=metadata))
    return paths


def panels_of(
    number: int, abreast: int, height: float, xlabel: str, ylabel: str = "", *, legend: int = 0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most ``abreast`` in a row of ``height`` inches, above a legend's entries."""
    abreast = min(abreast, number)
    rows = math.ceil(number / abreast)
    below = 0.15 * math.ceil(legend / ENTRIES)
    figure = Figure(figsize=(WIDTH, rows * height + below), layout="constrained")
    axes = figure.subplots(rows, abreast, squeeze=False, **options).ravel()
    for unused in axes[number:]:
        unused.set_axis_off()
    for lowest in axes[max(0, number - abreast) : number]:
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel)
    for left in axes[:number:abreast]:
        left.set_ylabel(ylabel)
    return figure, list(axes[:number])


@mpl.rc_context(STYLE)
def accuracy(table: Table, trials: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Mean and interval of every method, its seeds as dots below; a panel per column of the table.

    Args:
        table: what to draw.
        trials: the results it was made of.
        styles: of its methods.
    """
    figure, panels = panels_of(len(table.columns), 2, 0.45 + 0.19 * len(table.rows), "accuracy (%)", sharey=True)
    levels = {row.method: level for level, row in enumerate(table.rows)}
    palette = {method: styles[method].colour for method in levels}
    for place, (axes, column) in enumerate(zip(panels, table.columns, strict=True)):
        cells = [(level, styles[row.method], row.cells[place]) for level, row in enumerate(table.rows)]
        draw_intervals(axes, [(level, look, cell) for level, look, cell in cells if cell is not None])
        seeds = first_trials(trials_in(column, trials))
        x, method = seeds["value"].to_numpy(), seeds["method"].to_numpy()
        below = [levels[name] + 0.33 for name in method]
        dots: dict[str, Any] = {"size": 1.6, "alpha": 0.7, "jitter": False, "native_scale": True}
        sns.stripplot(x=x, y=below, hue=method, palette=palette, orient="h", legend=False, ax=axes, **dots)
        axes.set_title(f"{column.data}, {column.measure}")
        axes.set_xlim(possible(axes.get_xlim(), x))
        axes.set_ylim(len(table.rows) - 0.4, -0.6)
        axes.set_yticks(range(len(table.rows)), [row.method for row in table.rows])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
        axes.grid(visible=False, axis="y")
    return figure


def draw_intervals(axes: Axes, cells: Sequence[tuple[int, Look, Cell]]) -> None:
    """Means and horizontal intervals at their levels; all lines and all their ends at once, for speed."""
    for level, look, cell in cells:
        axes.plot(cell.mean, level, look.marker, color=look.colour)
    known = [(level, look.colour, cell.mean, cell.half) for level, look, cell in cells if cell.half is not None]
    if known:
        levels, colours, means, halves = zip(*known, strict=True)
        low, high = np.subtract(means, halves), np.add(means, halves)
        axes.hlines(levels, low, high, colors=colours, linewidths=0.9)
        ends, twice = np.concatenate([low, high]), [*levels, *levels]
        axes.scatter(ends, twice, s=16, c=[*colours, *colours], marker="|", linewidths=0.9)


def possible(limits: tuple[float, float], values: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis without the impossible percentages that an interval from few seeds reaches into."""
    seen = [*values]
    return max(limits[0], min(0.0, *seen) - 2), min(limits[1], max(100.0, *seen) + 2)


def trials_in(column: Column, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of a column."""
    return trials[(trials[PLACE] == [getattr(column, key) for key in PLACE]).all(axis=1)]


def first_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of one column; of a method with very many the first ``DOTS``."""
    return trials.sort_values("seed", kind="stable").groupby("method", sort=False).head(DOTS)


@mpl.rc_context(STYLE)
def curves(history: pd.DataFrame, methods: Sequence[str], styles: Mapping[str, Look]) -> Figure:
    """Loss against views, a panel per method, a line per seed, a line style per data set.

    Losses of different methods cannot be compared, so each is shown between the highest (1) and the lowest (0) value
    that the method takes on the data set; the panel names both.

    Args:
        history: ``views`` and ``loss`` by ``method``, ``dataset`` and ``run``.
        methods: in the order of the panels.
        styles: of the methods.
    """
    unit, word = (1e6, "million views") if history["views"].max() >= 1e6 else (1e3, "thousand views")
    datasets = sorted(history["dataset"].unique())
    options = {"sharex": True, "sharey": True, "legend": len(datasets)}
    abreast = 2 if len(methods) in (2, 4) else 3
    figure, panels = panels_of(len(methods), abreast, 1.1, word, "relative loss", **options)
    for axes, method in zip(panels, methods, strict=True):
        of_method = history[history["method"] == method]
        for (dataset, _), run in scaled(of_method).groupby(["dataset", "run"]):
            style = LINES[datasets.index(dataset) % len(LINES)]
            style = "." * (len(run) == 1) + style
            axes.plot(run["views"] / unit, run["loss"], style, color=styles[method].colour, lw=0.7, alpha=0.8)
        axes.set_title(method)
        axes.text(0.97, 0.95, ranges(of_method), ha="right", va="top", fontsize=5.5, transform=axes.transAxes)
        axes.set_ylim(-0.05, 1.05)
    if len(datasets) > 1:
        handles = [Line2D([], [], color="#333333", ls=LINES[i % len(LINES)], lw=0.7) for i in range(len(datasets))]
        figure.legend(handles, datasets, loc="outside lower center", ncols=ENTRIES)
    return figure


def scaled(history: pd.DataFrame) -> pd.DataFrame:
    """With the loss as a fraction of its range on each data set."""
    loss = history.groupby("dataset")["loss"]
    low, high = loss.transform("min"), loss.transform("max")
    return history.assign(loss=(history["loss"] - low) / (high - low).where(high > low, 1.0))


def ranges(history: pd.DataFrame) -> str:
    """Highest and lowest loss on each of the first data sets, one a line."""
    loss = history.groupby("dataset")["loss"].agg(["max", "min"])
    name = loss.index + " " if len(loss) > 1 else [""]
    return "\n".join(f"{n}{high:.3g} → {low:.3g}" for n, (high, low) in zip(name, loss.to_numpy()[:3], strict=False))


@mpl.rc_context(STYLE)
def cost(table: Table, trials: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Accuracy against what pretraining took, a panel per data set, by the first evaluation of each; seeds as dots.

    The cost is seconds where one device trained all, else views. What was not trained is a line across.
    """
    by, unit, word = "pretrain_seconds", 1.0, "seconds of pretraining"
    if trials["device"].nunique() > 1:
        by, unit, word = "views", 1e6, "million views"
    places = first_evaluations(table.columns)
    figure, panels = panels_of(len(places), 2, 1.4, word, "accuracy (%)", legend=len(table.rows))
    for axes, place in zip(panels, places, strict=True):
        column = table.columns[place]
        in_column = trials_in(column, trials)
        for row in table.rows:
            cell, dots = row.cells[place], in_column[in_column["method"] == row.method]
            if cell is not None:
                draw_cost(axes, dots[by] / unit, dots["value"], cell, styles[row.method])
        axes.set_title(f"{column.data}, {column.measure}")
        axes.set_ylim(possible(axes.get_ylim(), in_column["value"]))
        axes.set_xlim(left=0)
    shown = [row.method for row in table.rows]
    handles = [Line2D([], [], color=styles[m].colour, marker=styles[m].marker, ls="none") for m in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=ENTRIES)
    return figure


def first_evaluations(columns: Sequence[Column]) -> list[int]:
    """The place of the first column of each pair of data sets."""
    first: dict[str, int] = {}
    for place, column in enumerate(columns):
        first.setdefault(column.data, place)
    return list(first.values())


def draw_cost(axes: Axes, spent: pd.Series[float], values: pd.Series[float], cell: Cell, look: Look) -> None:
    """The seeds and their mean with its interval; for what cost nothing, a line across."""
    if spent.max() > 0:
        axes.plot(spent, values, ".", color=look.colour, ms=3, mew=0, alpha=0.7)
        bar: dict[str, Any] = {"elinewidth": 0.9, "capsize": 2.2, "capthick": 0.9}
        axes.errorbar(spent.mean(), cell.mean, yerr=cell.half, fmt=look.marker, color=look.colour, **bar)
    else:
        axes.axhline(cell.mean, color=look.colour, lw=0.7, ls=":")
        axes.plot(0, cell.mean, look.marker, color=look.colour, clip_on=False)


@mpl.rc_context(STYLE)
def series(points: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Published points, open and dotted, beside ours: a look per method, a line per protocol, where x is a number.

    Args:
        points: ``results.papers.SERIES_COLUMNS``.
        styles: of the methods.
    """
    methods, lines = points["method"].unique(), sorted(points["whose"].unique(), key=PUBLISHED.__eq__)
    strokes: dict[str, dict[str, Any]] = {whose: {"ls": OURS[i % len(OURS)]} for i, whose in enumerate(lines)}
    strokes[PUBLISHED] = {"ls": ":", "markerfacecolor": "white"}
    panels, first = list(points.groupby("panel", sort=False)), points.iloc[0]
    legend = ENTRIES * max(len(methods), len(lines))
    figure, all_axes = panels_of(len(panels), 2, 1.8, first["xlabel"], first["ylabel"], legend=legend)
    for axes, (title, of_panel) in zip(all_axes, panels, strict=True):
        for key, line in of_panel.groupby(["method", "whose"], sort=False):
            method, whose = map(str, key)
            # Moved aside a little, so that no interval hides another.
            x = line["x"] * (1 + 0.03 * lines.index(whose))
            look = {"color": styles[method].colour, "marker": styles[method].marker, **strokes[whose]}
            look |= {"ls": "none"} if line["place"].any() else {}
            axes.errorbar(x, line["value"], line["half"], elinewidth=0.8, **look)
        axes.set_title(str(title))
        axes.set_xscale("linear" if of_panel["place"].any() else "log")
        ticks = of_panel.drop_duplicates("x").sort_values("x")
        axes.set_xticks(ticks["x"], [place or f"{x:g}" for place, x in zip(ticks["place"], ticks["x"], strict=True)])
        axes.xaxis.set_minor_locator(NullLocator())
    handles = [Line2D([], [], color=styles[m].colour, marker=styles[m].marker, ls="none") for m in methods]
    figure.legend(handles, methods, loc="outside lower left")
    handles = [Line2D([], [], color="#333333", marker="o", **strokes[whose]) for whose in lines]
    figure.legend(handles, lines, loc="outside lower right")
    return figure
