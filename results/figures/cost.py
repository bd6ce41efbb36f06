"""Accuracy against what pretraining cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.figures import register_figure
from results.figures.accuracy import MOST_DOTTED, results_of
from results.figures.style import add_method_legend, clip_to_percent, legend_columns, make_panels, set_titles
from results.names import direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.figures.data import FigureData

TIME = "pretrain_seconds"
COSTS = {
    "flops": (1e12, "TFLOPs of pretraining"),
    "views": (1e6, "million views"),
    TIME: (60.0, "minutes of pretraining"),
}
"""Columns of results: unit and words."""

FEWEST_METHODS = 2
"""Trained methods from which on there is something to compare."""


@register_figure("cost")
def cost(data: FigureData) -> Figure | None:
    """Accuracy against the cost of pretraining, by the first evaluation of each data set.

    Mean (marker) and 95 % interval over seeds (bar). The grey line is the Pareto front: on it no other method is both
    cheaper and better.
    """
    table = data.table
    if table is None or not table.rows:
        return None
    first: dict[str, int] = {}
    for index, column in enumerate(table.columns):
        first.setdefault(column.data, index)
    shown = [
        (index, key)
        for index in first.values()
        for key in costs_of(results_of(table.columns[index], data.results), data.machines)
    ]
    if not shown:
        return None
    dotted, untrained = len(shown) * len(table.rows) <= MOST_DOTTED, dict[str, None]()
    figure, panels = make_panels(len(shown), 2, 1.7, "", "accuracy (%)", legend=len(table.rows), width=data.width)
    for axes, (index, key) in zip(panels, shown, strict=True):
        column, (unit, words) = table.columns[index], COSTS[key]
        results = results_of(column, data.results)
        by_method = dict(list(results.groupby("method")[["value", key]]))
        points = []
        for row in table.rows:
            cell = row.cells[index]
            if cell is None:
                continue
            seeds = by_method[row.method]
            style, spent = data.styles[row.method], seeds[key].fillna(0).to_numpy() / unit
            if spent.max() > 0:
                if dotted:
                    axes.plot(spent, seeds["value"], ".", color=style.colour, ms=3, mew=0, alpha=0.7)
                bar: dict[str, Any] = {"elinewidth": 0.9, "capsize": 2.2, "capthick": 0.9}
                axes.errorbar(spent.mean(), cell.mean, yerr=cell.half, fmt=style.marker, color=style.colour, **bar)
            else:
                axes.axhline(cell.mean, color=style.colour, lw=0.7, ls=":")
                untrained[row.method] = None
            if not row.baseline:
                points.append((float(spent.mean()), cell.mean))
        draw_front(axes, points, direction(column.metric))
        axes.set_xlabel(words)
        axes.set_ylim(clip_to_percent(axes.get_ylim(), results["value"]))
        axes.set_xlim(left=0)
    set_titles(figure, panels, [f"{table.columns[index].data}, {table.columns[index].measure}" for index, _ in shown])
    add_method_legend(figure, data.methods, data.styles, ncols=legend_columns(data.width))
    several = any(cell.n > 1 for row in table.rows for cell in row.cells if cell is not None)
    said = ["Dots are single seeds."] * (dotted and several)
    said += [f"{', '.join(untrained)}: the dotted line, since nothing is trained."] * bool(untrained)
    said += ["All runs were made on one machine, as far as records tell."] * any(key == TIME for _, key in shown)
    figure.set_label(" ".join(said))
    return figure


def costs_of(results: pd.DataFrame, machines: int) -> list[str]:
    """The costs of one column in which trained methods differ, as columns of the results; times of one machine only."""
    trained = results[results["views"] > 0]
    if trained["method"].nunique() < FEWEST_METHODS:
        return []
    known = [key for key in COSTS if trained[key].notna().all()]
    by_method = trained.groupby("method")[known].mean()
    differ = [key for key in known if by_method[key].max() > 1.01 * by_method[key].min()]
    return [key for key in differ if key != TIME or machines == 1]


def draw_front(axes: Axes, points: Sequence[tuple[float, float]], sign: int) -> None:
    """The Pareto front of points of cost and value; ``sign`` is −1 where lower values are better."""
    front: list[tuple[float, float]] = []
    for spent, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * value > sign * front[-1][1]:
            front.append((spent, value))
    if len(front) > 1:
        axes.step(*zip(*front, strict=True), where="post", color="#999999", lw=0.8, zorder=0)
