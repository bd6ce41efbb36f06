"""Accuracy as a function of the tuning budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from results.analysis.tables import records
from results.figures import register_figure
from results.figures.style import add_method_legend, legend_columns, make_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from results.figures.data import FigureData


@register_figure("tuning")
def tuning(data: FigureData) -> Figure | None:
    """Expected highest held-out accuracy of n trials drawn from the search space.

    On the left against the number of trials, on the right against the floating-point operations that they take. Bands
    are the bootstrap's over trials, up to a third of their number. The horizontal marks at the left edge are the
    accuracies of the default settings.
    """
    curves = data.tuning
    if curves.empty or curves["n"].max() < 2:
        return None
    methods = list(curves["method"].unique())
    figure, (by_trials, by_flops) = make_panels(
        2, 2, 1.8, "", "best held-out accuracy (%)", legend=len(methods), sharey=True, width=data.width
    )
    for method, rows in curves.groupby("method", sort=False):
        style = data.styles[str(method)]
        for axes, x in ((by_trials, rows["n"]), (by_flops, rows["flops"])):
            if x.isna().any():
                continue
            axes.plot(x, rows["mean"], color=style.colour, marker=style.marker, markevery=max(1, len(rows) // 6))
            axes.fill_between(x, rows["low"], rows["high"], color=style.colour, alpha=0.12, linewidth=0)
        (first,) = records(rows.head(1))
        by_trials.plot([0.88], [first["default"]], "_", color=style.colour, markersize=7)
    for axes in (by_trials, by_flops):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
    by_trials.set_xlabel("trials")
    by_flops.set_xlabel("FLOPs of all trials")
    add_method_legend(figure, methods, data.styles, ncols=legend_columns(data.width))
    return figure
