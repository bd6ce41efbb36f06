"""The style that all figures share: the width of a column, intervals, panels, and files that are the same every time.

Every method has one colour and marker in all figures; no meaning depends on colour alone.
"""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.figures.data import COLUMN_WIDTH
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from results.figures.markers import MarkerStyle

TITLE_LETTERS = 51
"""Letters of the titles of all panels in a row of a column; longer titles have several lines."""

TITLE_LINE = 0.13
"""Height of a line of a title, in inches."""

LEGEND_COLUMNS = 3
"""Of a legend below a figure that is a column wide."""

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
    "svg.hashsalt": "bench",
    "text.parse_math": False,
    "pdf.fonttype": 42,
}

FORMATS: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}
"""The formats of a figure, without the metadata that would change from day to day or machine to machine."""

DPI = 250
"""Pixels per inch of a PNG."""

LINES = ("-", "--", "-.", ":")
"""Line styles, of data sets or protocols."""


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write a figure in some formats, by default in every one; the same bytes for the same numbers.

    Raises:
        OSError: the folder cannot be written.
    """
    writers: dict[str, Callable[..., object]] = {
        "svg": FigureCanvasSVG(figure).print_svg,
        "png": FigureCanvasAgg(figure).print_png,
        "pdf": FigureCanvasPdf(figure).print_pdf,
    }
    paths = [folder / f"{name}.{kind}" for kind in formats]
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # labels longer than the figure
        # The layout is computed once, not once per format. Figure.savefig would also draw everything twice.
        if (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        for path, kind in zip(paths, formats, strict=True):
            figure.set_dpi(DPI)
            write_atomically(path, partial(writers[kind], metadata=FORMATS[kind]))
    return paths


def make_panels(
    number: int,
    columns: int,
    height: float,
    xlabel: str,
    ylabel: str = "",
    *,
    legend: int = 0,
    width: float = COLUMN_WIDTH,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels.

    Args:
        number: of panels.
        columns: panels in a row of a column of a paper, at most; a wider figure has more.
        height: of a row, in inches.
        xlabel: below the lowest panels.
        ylabel: left of the first panels.
        legend: entries of the legend below the panels.
        width: of the figure, in inches.
        options: of ``Figure.subplots``.
    """
    rows = math.ceil(number / min(columns * round(width / COLUMN_WIDTH), number))
    columns = math.ceil(number / rows)  # so that no row is much shorter than the others
    below = 0.15 * math.ceil(legend / legend_columns(width))
    figure = Figure(figsize=(width, rows * height + below), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for unused in axes[number:]:
        unused.set_axis_off()
    for lowest in axes[max(0, number - columns) : number]:
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel)
    for left in axes[:number:columns]:
        left.set_ylabel(ylabel)
    return figure, list(axes[:number])


def set_titles(figure: Figure, panels: Sequence[Axes], titles: Sequence[str], label_letters: int = 0) -> None:
    """Set the titles of panels, in lines that fit their width; the figure grows by the lines after the first.

    Args:
        figure: of the panels.
        panels: as :func:`make_panels` returned them.
        titles: of each.
        label_letters: letters of the names of levels, which stand left of the first panel of a row.
    """
    spec = panels[0].get_gridspec()
    columns = spec.ncols if spec else 1
    letters = int(TITLE_LETTERS * figure.get_figwidth() / COLUMN_WIDTH - label_letters) // columns
    wrapped = [wrap_label(title, max(letters, 8)) for title in titles]
    for axes, title in zip(panels, wrapped, strict=True):
        axes.set_title(title)
    rows = (wrapped[first : first + columns] for first in range(0, len(wrapped), columns))
    more = sum(max(title.count("\n") for title in row) for row in rows)
    figure.set_figheight(figure.get_figheight() + TITLE_LINE * more)


def wrap_label(label: str, letters: int) -> str:
    """A label in lines of so many letters at most, broken between its parts where that is possible."""
    lines = [""]
    for piece in re.split(r"(?<=[\[,])", label):
        if lines[-1] and len(lines[-1]) + len(piece) > letters:
            lines.append("")
        lines[-1] += piece
    return "\n".join(part for line in lines for part in textwrap.wrap(line, letters))


def legend_columns(width: float) -> int:
    """Columns of a legend below a figure of some width, in inches."""
    return LEGEND_COLUMNS * round(width / COLUMN_WIDTH)


def clip_to_percent(limits: tuple[float, float], values: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis without the impossible percentages that an interval from few seeds reaches into."""
    values = [*values]
    return max(limits[0], min(0.0, *values) - 2), min(limits[1], max(100.0, *values) + 2)


def add_method_legend(
    figure: Figure, methods: Sequence[str], styles: Mapping[str, MarkerStyle], **options: Any
) -> None:
    """Add a legend of the methods' colours and markers; ``options`` are those of ``Figure.legend``."""
    handles = [Line2D([], [], color=styles[m].colour, marker=styles[m].marker, ls="none") for m in methods]
    figure.legend(handles, methods, **{"loc": "outside lower center", "ncols": LEGEND_COLUMNS, **options})
