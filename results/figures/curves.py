"""Learning curves of every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from results.figures import register_figure
from results.figures.style import LINES, legend_columns, make_panels, set_titles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from results.figures.data import FigureData


@register_figure("curves")
def curves(data: FigureData) -> Figure | None:
    """Learning curves of the first 5 seeds: loss of each method against views, in its own unit.

    Losses of different methods cannot be compared, therefore every panel has its own axis.
    """
    history = data.history
    epochs = history.groupby("run")["epoch"].size()
    trained = set(history["method"])
    methods = [method for method in data.methods if method in trained]
    if not methods or epochs.max() < 2:
        return None
    unit, word = (1e6, "million views") if history["views"].max() >= 1e6 else (1e3, "thousand views")
    datasets = sorted(history["dataset"].unique())
    columns = 2 if len(methods) in (2, 4) else 3
    options: dict[str, Any] = {"sharex": True, "legend": len(datasets), "width": data.width}
    figure, panels = make_panels(len(methods), columns, 1.1, word, "loss", **options)
    views, losses = (history["views"] / unit).to_numpy(), history["loss"].to_numpy()
    runs: dict[tuple[str, str, str], list[int]] = {}
    for row, key in enumerate(history[["method", "dataset", "run"]].itertuples(index=False, name=None)):
        runs.setdefault(key, []).append(row)
    by_method: dict[str, list[tuple[str, list[int]]]] = {}
    for (method, dataset, _), rows in sorted(runs.items()):
        by_method.setdefault(method, []).append((dataset, rows))
    for axes, method in zip(panels, methods, strict=True):
        for dataset, rows in by_method[method]:
            style = LINES[datasets.index(dataset) % len(LINES)]
            style = "." * (len(rows) == 1) + style
            axes.plot(views[rows], losses[rows], style, color=data.styles[method].colour, lw=0.7, alpha=0.8)
        axes.yaxis.set_major_locator(MaxNLocator(3))
    set_titles(figure, panels, methods)
    if len(datasets) > 1:
        handles = [Line2D([], [], color="#333333", ls=LINES[i % len(LINES)], lw=0.7) for i in range(len(datasets))]
        figure.legend(handles, datasets, loc="outside lower center", ncols=legend_columns(data.width))
    return figure
