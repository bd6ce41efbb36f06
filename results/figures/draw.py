"""Which figures a report has; they are drawn again only where what they show has changed.

Each kind of figure is a file beside this one, and registers itself.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.analysis.frame import COST
from results.analysis.tables import by_table
from results.errors import DamagedFile
from results.figures import BUILT_IN, FIGURES, figure_names
from results.figures.data import PAGE_WIDTH, FigureData
from results.figures.markers import method_styles
from results.names import BASELINES
from results.store import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

    from results.analysis.frame import Frames
    from results.analysis.published_tables import Comparison
    from results.analysis.tables import ResultTable

VERSION = 11
"""Of how figures look; raised by hand, so that those of an older report are drawn again."""

DRAWN = ".drawn.json"
"""In the figures' folder: by table, a digest of what its figures show, and their files and captions."""

MOST_CELLS = 150
"""Cells of tables that get figures unless all do: drawing takes some 20 ms for each."""


@dataclass(frozen=True)
class DrawnFigure:
    """A figure that lies in a folder.

    Attributes:
        kind: its name in the registry.
        caption: for people.
        files: one per format, the SVG first; a column of a paper wide.
        page: an SVG that is as wide as a page.
    """

    kind: str
    caption: str
    files: tuple[Path, ...]
    page: Path


def figure_data(
    frames: Frames,
    tables: Sequence[ResultTable],
    comparison: Comparison | None,
    *,
    every: bool,
    curves: Mapping[str, pd.DataFrame] = MappingProxyType({}),
) -> Iterator[FigureData]:
    """What figures show: the tables with the most results, published figures that something was measured of, searches.

    Args:
        frames: all runs.
        tables: of the report.
        comparison: with published numbers, if that is shown.
        every: whether every table gets its figures, however long that takes.
        curves: of every search for hyper-parameters, by its name.
    """
    results, refined = by_table(frames.unrefined), by_table(frames.refined)
    runs = by_table(frames.runs)
    filled = [table for table in tables if table.rows]
    series = [(table, table.series) for table in (comparison.tables if comparison else ()) if table.series is not None]
    baselines = {name: BASELINES.get(name, "") for _, points in series for name in points["method"]}
    baselines |= {name: BASELINES.get(name, "") for rows in curves.values() for name in rows["method"]}
    labels = [frames.stored_labels.get(label, label) for label in frames.unrefined["method"]]
    baselines |= dict(zip(labels, frames.unrefined["baseline"], strict=True))
    styles = method_styles(baselines)
    styles |= {label: styles[stored] for label, stored in frames.stored_labels.items() if stored in styles}
    for table in filled if every else largest_tables(filled, results):
        after = refined.get(table.key, frames.refined[:0])
        machines = int(runs[table.key].loc[runs[table.key]["status"] == "done", "machine"].nunique())
        yield FigureData(
            table.name, table.title, styles, frames.folders, table, results[table.key], after, machines=machines
        )
    for published, points in series:
        yield FigureData(published.name, published.title, styles, frames.folders, points=points)
    for name, rows in curves.items():
        yield FigureData(name, name, styles, frames.folders, tuning=rows)


def largest_tables(tables: Sequence[ResultTable], results: Mapping[tuple[Any, ...], pd.DataFrame]) -> list[ResultTable]:
    """The tables with the most results, at least one, as many as have ``MOST_CELLS`` together."""
    chosen: list[ResultTable] = []
    cells_left = MOST_CELLS
    for table in sorted(tables, key=lambda table: len(results[table.key]), reverse=True):
        cells_left -= len(table.rows) * len(table.columns)
        if cells_left >= 0 or not chosen:
            chosen.append(table)
    return [table for table in tables if table in chosen]


def draw_all(wanted: Iterable[FigureData], folder: Path) -> dict[str, list[DrawnFigure]]:
    """Draw what is not there yet, and remove the figures that an older report left and nothing needs.

    Returns:
        By name of a table, its figures in the order of the registry.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(exist_ok=True)
    known = read_drawn(folder / DRAWN)
    drawn: dict[str, dict[str, Any]] = {}
    for data in wanted:
        digest = digest_of(data)
        entry = known.get(data.name)
        if (
            entry is None
            or entry["digest"] != digest
            or not all((folder / file).exists() for figure in entry["figures"] for file in files_of(figure))
        ):
            entry = {"digest": digest, "figures": draw_table(data, folder)}
        drawn[data.name] = entry
    write_json(folder / DRAWN, drawn)
    needed = {file for entry in drawn.values() for figure in entry["figures"] for file in files_of(figure)}
    for kind in figure_names():
        for path in folder.glob(f"{kind}-*"):
            if path.suffix in (".svg", ".png", ".pdf") and path.name not in needed:
                path.unlink()
    return {
        table: [
            DrawnFigure(
                figure["kind"],
                figure["caption"],
                tuple(folder / file for file in figure["files"]),
                folder / figure["page"],
            )
            for figure in entry["figures"]
        ]
        for table, entry in drawn.items()
    }


def draw_table(data: FigureData, folder: Path) -> list[dict[str, Any]]:
    """Draw and save the figures of one table; returns kind, caption and names of files of each."""
    # matplotlib and seaborn take seconds to import, and are seldom needed twice for the same runs.
    from results.figures.style import save

    drawn = []
    for kind in figure_names():
        figure = draw_figure(kind, data)
        if figure is not None:
            caption = " ".join(f"{inspect.getdoc(FIGURES.get(kind)) or ''} {figure.get_label()}".split())
            files = [path.name for path in save(figure, folder, f"{kind}-{data.name}")]
            wide = draw_figure(kind, replace(data, width=PAGE_WIDTH)) or figure
            (page,) = save(wide, folder, f"{kind}-{data.name}-page", ("svg",))
            drawn.append({"kind": kind, "caption": caption, "files": files, "page": page.name})
    return drawn


def files_of(figure: Mapping[str, Any]) -> list[str]:
    """Names of all files of a figure."""
    return [*figure["files"], figure["page"]]


def draw_figure(kind: str, data: FigureData) -> Figure | None:
    """Draw one figure in the style of all; None where there is nothing to show."""
    import matplotlib as mpl

    from results.figures.style import STYLE

    with mpl.rc_context(STYLE):
        return FIGURES.get(kind)(data)


def read_drawn(path: Path) -> dict[str, dict[str, Any]]:
    """What an earlier report drew; nothing if the file is missing, damaged or of another version."""
    try:
        return {
            name: {
                "digest": entry["digest"],
                "figures": [
                    {key: figure[key] for key in ("kind", "caption", "files", "page")} for figure in entry["figures"]
                ],
            }
            for name, entry in (read_json(path) or {}).items()
        }
    except (DamagedFile, KeyError, TypeError, AttributeError):
        return {}


def digest_of(data: FigureData) -> str:
    """Of everything that a table's figures show, and of the source of those that are plugins.

    A run's history is known by its run and cost.
    """
    columns = ["run", "method", "evaluation", "refinement", "value", *COST]
    rows = pd.util.hash_pandas_object(pd.concat([data.results, data.refined])[columns], index=False)
    styles = [data.styles[method] for method in data.methods]
    plugins = [inspect.getsourcefile(FIGURES.get(name)) for name in figure_names() if name not in BUILT_IN]
    words = (
        repr((VERSION, figure_names(), data.table, data.machines, styles)) + data.points.to_csv() + data.tuning.to_csv()
    )
    plugin_sources = b"".join(Path(source).read_bytes() for source in plugins if source)
    return hashlib.sha256(words.encode() + rows.to_numpy().tobytes() + plugin_sources).hexdigest()
