"""What refinements add to every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.lines import Line2D

from results.analysis.refinements import compare_refinements, refinement_names, values_by_refinement
from results.analysis.statistics import COLUMN, without_baselines
from results.analysis.tables import column_of, records
from results.figures import register_figure
from results.figures.markers import TRANSDUCTIVE_MARK
from results.figures.style import legend_columns, make_panels, set_titles
from results.names import display_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.figures.data import FigureData


@register_figure("gains")
def gains(data: FigureData) -> Figure | None:
    """What refinements add to every method in points, paired by seed.

    Below, the mean over methods that are no baselines, with its interval over seeds; the 95 % hold for all refinements
    together.
    """
    if without_baselines(data.refined).empty:
        return None
    results = pd.concat([data.results, data.refined])
    competing = without_baselines(results)
    columns = [cell for _, cell in competing.groupby(COLUMN, sort=False) if (cell["refinement"] != "").any()]
    refinements = refinement_names(results)
    labels = [f"{display_name(name)} {TRANSDUCTIVE_MARK * leaks}".strip() for name, leaks in refinements.items()]
    methods = sorted(competing["method"].unique())
    height = 0.5 + 0.24 * len(labels)
    figure, panels = make_panels(
        len(columns), 2, height, "points gained", legend=len(methods) + 1, sharey=True, width=data.width
    )
    titles = list[str]()
    for axes, cell in zip(panels, columns, strict=True):
        draw_gains(axes, cell, [*refinements], data)
        (first,) = records(cell.head(1))
        titles.append(f"{column_of(first).data}, {column_of(first).measure}")
        axes.axvline(0, color="#000000", lw=0.6)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    set_titles(figure, panels, titles, max(map(len, labels)))
    markers = [*((data.styles[method].colour, data.styles[method].marker) for method in methods), ("#000000", "d")]
    handles = [Line2D([], [], color=colour, marker=marker, ls="none") for colour, marker in markers]
    figure.legend(handles, [*methods, "mean"], loc="outside lower center", ncols=legend_columns(data.width))
    return figure


def draw_gains(axes: Axes, results: pd.DataFrame, refinements: Sequence[str], data: FigureData) -> None:
    """One panel: a marker for each method's mean difference, and below the mean over methods with its interval."""
    values = values_by_refinement(results)
    means = compare_refinements(values_by_refinement(results, by="pretraining"))
    for level, name in enumerate(refinements):
        if name not in values or "" not in values:
            continue
        differences = (values[name] - values[""]).dropna()
        for method, mean in differences.groupby("method").mean().items():
            style = data.styles[str(method)]
            axes.plot(mean, level - 0.1, style.marker, color=style.colour, alpha=0.8)
        if found := means.get((name, "")):
            axes.errorbar(
                found.mean, level + 0.25, xerr=found.half, fmt="d", color="#000000", elinewidth=0.9, capsize=2
            )
