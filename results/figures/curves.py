"""Learning curves of every method."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from results.figures import register_figure
from results.figures.style import LEGEND_COLUMNS, LINES, make_panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from results.figures.data import FigureData


TITLE_LETTERS = 54
"""Letters of the titles of all panels in a row; longer titles have several lines."""


@register_figure("curves")
def curves(data: FigureData) -> Figure | None:
    """Learning curves of the first 5 seeds: loss against views.

    Each method lies between its highest (1) and lowest (0) loss, named in its panel.
    """
    # Losses of different methods cannot be compared, therefore the scale of each panel is relative.
    history = data.history
    methods = [method for method in data.methods if method in set(history["method"])]
    if not methods:
        return None
    unit, word = (1e6, "million views") if history["views"].max() >= 1e6 else (1e3, "thousand views")
    datasets = sorted(history["dataset"].unique())
    columns = 2 if len(methods) in (2, 4) else 3
    options = {"sharex": True, "sharey": True, "legend": len(datasets)}
    figure, panels = make_panels(len(methods), columns, 1.1, word, "relative loss", **options)
    for axes, method in zip(panels, methods, strict=True):
        of_method = history[history["method"] == method]
        for (dataset, _), run in relative_loss(of_method).groupby(["dataset", "run"]):
            style = LINES[datasets.index(dataset) % len(LINES)]
            style = "." * (len(run) == 1) + style
            axes.plot(run["views"] / unit, run["loss"], style, color=data.styles[method].colour, lw=0.7, alpha=0.8)
        axes.set_title("\n".join(textwrap.wrap(method, TITLE_LETTERS // columns)))
        axes.text(0.97, 0.95, loss_ranges(of_method), ha="right", va="top", fontsize=5.5, transform=axes.transAxes)
        axes.set_ylim(-0.05, 1.05)
    if len(datasets) > 1:
        handles = [Line2D([], [], color="#333333", ls=LINES[i % len(LINES)], lw=0.7) for i in range(len(datasets))]
        figure.legend(handles, datasets, loc="outside lower center", ncols=LEGEND_COLUMNS)
    return figure


def relative_loss(history: pd.DataFrame) -> pd.DataFrame:
    """The history with its loss as a fraction of its range on each data set."""
    loss = history.groupby("dataset")["loss"]
    low, high = loss.transform("min"), loss.transform("max")
    return history.assign(loss=(history["loss"] - low) / (high - low).where(high > low, 1.0))


def loss_ranges(history: pd.DataFrame) -> str:
    """Highest and lowest loss on each of the first three data sets, one per line."""
    loss = history.groupby("dataset")["loss"].agg(["max", "min"])
    names = loss.index + " " if len(loss) > 1 else [""]
    return "\n".join(f"{n}{high:.3g} → {low:.3g}" for n, (high, low) in zip(names, loss.to_numpy()[:3], strict=False))
