"""A figure of what refinements add: every method's paired differences, and their mean over methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.lines import Line2D

from results.plots import ENTRIES, STYLE, panels_of
from results.refinement import LEAKS, mean_difference, refinements_of, wide
from results.statistics import COLUMN, competitors
from results.tables import column_of, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.looks import Look

MEAN = "mean"


@mpl.rc_context(STYLE)
def gains(trials: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Points gained by every refinement, a panel per data set and evaluation; methods that are no anchors.

    Args:
        trials: of one protocol and backbone, as they are and refined.
        styles: of the methods.
    """
    columns = [cell for _, cell in competitors(trials).groupby(COLUMN, sort=False) if cell["refinement"].any()]
    names = refinements_of(trials)
    methods = sorted(competitors(trials)["method"].unique())
    height = 0.5 + 0.24 * len(names)
    figure, panels = panels_of(len(columns), 2, height, "points gained", legend=len(methods) + 1, sharey=True)
    for axes, cell in zip(panels, columns, strict=True):
        draw_gains(axes, wide(cell), [*names], styles)
        (first,) = records(cell.head(1))
        column = column_of(first)
        axes.set_title(f"{column.data}, {column.measure}")
        axes.axvline(0, color="#000000", lw=0.6)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [f"{name} {LEAKS}" if leaks else name for name, leaks in names.items()])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    shown = {method: (styles[method].colour, styles[method].marker) for method in methods}
    handles = [Line2D([], [], color=c, marker=m, ls="none") for c, m in [*shown.values(), ("#000000", "d")]]
    figure.legend(handles, [*shown, MEAN], loc="outside lower center", ncols=ENTRIES)
    return figure


def draw_gains(axes: Axes, values: pd.DataFrame, names: list[str], styles: Mapping[str, Look]) -> None:
    """One panel: a mark for each method's mean difference, and the mean over methods with its interval below."""
    for level, name in enumerate(names):
        if name not in values or "" not in values:
            continue
        paired = (values[name] - values[""]).dropna()
        for method, mean in paired.groupby("method").mean().items():
            look = styles[str(method)]
            axes.plot(mean, level - 0.1, look.marker, color=look.colour, alpha=0.8)
        if found := mean_difference(paired):
            half = found.high - found.mean if found.n > 1 else None
            axes.errorbar(found.mean, level + 0.25, xerr=half, fmt="d", color="#000000", elinewidth=0.9, capsize=2)
