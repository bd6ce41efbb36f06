"""Which figures a report has; they are drawn anew only where what they show has changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd

from results.frame import COST, DOTS, SEEDS, first_seeds, read_histories
from results.looks import looks
from results.page import anchor_of, figure
from results.statistics import competitors
from results.store import read_json, write_json
from results.svg import inline
from results.tables import by_section

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from results.frame import Frames
    from results.looks import Look
    from results.papers import Papers, PaperTable
    from results.tables import Table

VERSION = 3
"""Of how figures look; bumped by hand, so that those of an older report are drawn again."""

DRAWN = ".drawn.json"
"""In the figures' folder: by table, a digest of what its figures show."""

MOST_CELLS = 150
"""Cells of tables that get figures unless all shall: drawing takes some 20 ms for each."""

CAPTIONS = {
    "accuracy": "Accuracy: mean (marker), 95 % interval over seeds (bar) and single seeds (dots below, "
    f"{DOTS} at most).",
    "curves": f"Learning curves of the first {SEEDS} seeds: loss against views. Each method lies between its highest "
    "(1) and lowest (0) loss, named in its panel.",
    "cost": "Accuracy against the cost of pretraining: mean (marker), 95 % interval over seeds (bar) and single seeds "
    "(dots). The dotted line needs no training.",
    "gains": "What refinements add to every method in points, paired by seed; below, the mean over methods that are no "
    "anchors, with its 95 % interval over seeds.",
    "published": "Published points (open, with standard deviations where known) beside ours (filled, with 95 % "
    "intervals over seeds); those of one line share a protocol.",
}


class Drawn(TypedDict):
    """What is remembered of a table's figures: a digest of what they show, and the names of their files."""

    digest: str
    files: list[str]


@dataclass(frozen=True)
class Drawing:
    """The figures of one table.

    Attributes:
        name: of the table.
        digest: of everything they show.
        make: draws them; by their kind.
    """

    name: str
    digest: str
    make: Callable[[], dict[str, Figure]]


def drawings(
    frames: Frames, tables: Sequence[Table], papers: Papers | None, runs: Path, *, every: bool
) -> Iterator[Drawing]:
    """The figures of the tables with the most runs, and of the published figures of which something was measured.

    Args:
        frames: all runs.
        tables: of the report.
        papers: published beside measured, if that is shown.
        runs: the runs folder.
        every: whether every table gets its figures, however long that takes.
    """
    results, refined = by_section(frames.results), by_section(frames.refined)
    filled = [table for table in tables if table.rows]
    series = {} if papers is None else papers.series
    methods = {name for points in series.values() for name in points["method"]}
    styles = looks({*frames.results["method"], *methods})
    for table in filled if every else largest(filled, results):
        trials = results[table.section]
        after = refined.get(table.section, frames.refined[:0])
        make = partial(figures_of, table, trials, after, runs, styles)
        yield Drawing(table.name, digest_of(table, pd.concat([trials, after]), styles), make)
    for name, points in series.items():
        yield Drawing(name, digest_of_points(points, styles), partial(published_figure, points, styles))


def draw(wanted: Iterable[Drawing], folder: Path) -> dict[str, list[Path]]:
    """Draw what is wanted and not there yet, and remove the figures of what is wanted no more.

    Returns:
        By name of a table, its files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(exist_ok=True)
    known = drawn_before(folder / DRAWN)
    drawn: dict[str, Drawn] = {}
    for drawing in wanted:
        before = known.get(drawing.name)
        if (
            before is None
            or before["digest"] != drawing.digest
            or not all((folder / name).exists() for name in before["files"])
        ):
            before = {"digest": drawing.digest, "files": draw_one(drawing, folder)}
        drawn[drawing.name] = before
    write_json(folder / DRAWN, drawn)
    remove_others(folder, {name for entry in drawn.values() for name in entry["files"]})
    return {table: [folder / name for name in entry["files"]] for table, entry in drawn.items()}


def draw_one(drawing: Drawing, folder: Path) -> list[str]:
    """Draw and save the figures of one table; returns the names of their files."""
    # matplotlib and seaborn take seconds to import, and are seldom needed twice for the same runs.
    from results.plots import save

    made = drawing.make()
    return [
        path.name for kind in CAPTIONS if kind in made for path in save(made[kind], folder, f"{kind}-{drawing.name}")
    ]


def drawn_before(path: Path) -> dict[str, Drawn]:
    """What an earlier report drew; nothing if that cannot be told."""
    try:
        drawn = read_json(path)
        return {name: {"digest": entry["digest"], "files": list(entry["files"])} for name, entry in drawn.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def largest(tables: Sequence[Table], results: Mapping[tuple[Any, ...], pd.DataFrame]) -> list[Table]:
    """The tables with the most results, at least one, as many as have ``MOST_CELLS`` together."""
    chosen: list[Table] = []
    room = MOST_CELLS
    for table in sorted(tables, key=lambda table: len(results[table.section]), reverse=True):
        room -= len(table.rows) * len(table.columns)
        if room >= 0 or not chosen:
            chosen.append(table)
    return [table for table in tables if table in chosen]


def digest_of(table: Table, trials: pd.DataFrame, styles: Mapping[str, Look]) -> str:
    """Of everything that a table's figures show; a run's history is known by its run and cost."""
    rows = pd.util.hash_pandas_object(
        trials[["run", "method", "evaluation", "refinement", "value", *COST]], index=False
    )
    words = repr((VERSION, table, [styles[row.method] for row in table.rows]))
    return hashlib.sha256(words.encode() + rows.to_numpy().tobytes()).hexdigest()


def digest_of_points(points: pd.DataFrame, styles: Mapping[str, Look]) -> str:
    """Of everything that a published figure shows."""
    words = repr((VERSION, [styles[method] for method in points["method"]]))
    return hashlib.sha256((words + points.to_csv()).encode()).hexdigest()


def figures_of(
    table: Table, trials: pd.DataFrame, refined: pd.DataFrame, runs: Path, styles: Mapping[str, Look]
) -> dict[str, Figure]:
    """The figures of one table and of what was refined under its protocol, by their kind."""
    from results import gains, plots

    made = {"accuracy": plots.accuracy(table, trials, styles), "cost": plots.cost(table, trials, styles)}
    history = histories(trials, runs)
    if len(history):
        trained = [row.method for row in table.rows if row.method in set(history["method"])]
        made["curves"] = plots.curves(history, trained, styles)
    if len(competitors(refined)):
        made["gains"] = gains.gains(pd.concat([trials, refined]), styles)
    return made


def published_figure(points: pd.DataFrame, styles: Mapping[str, Look]) -> dict[str, Figure]:
    """A published figure with our points in it."""
    from results import plots

    return {"published": plots.series(points, styles)}


def histories(trials: pd.DataFrame, runs: Path) -> pd.DataFrame:
    """The epochs of the first seeds of every method and data set, with both named."""
    some = first_seeds(trials[trials["views"] > 0].drop_duplicates("run"))
    return read_histories(runs, some["run"]).merge(some[["run", "method", "dataset"]], on="run")


def remove_others(folder: Path, names: Container[str]) -> None:
    """Remove the figures that an earlier report left and that are not among these."""
    for kind in CAPTIONS:
        for path in folder.glob(f"{kind}-*"):
            if path.suffix in (".svg", ".png", ".pdf") and path.name not in names:
                path.unlink()


def elements(table: Table | PaperTable, files: Sequence[Path]) -> list[str]:
    """A table's figures, to stand in a page."""
    return [element(kind, table, path) for kind in CAPTIONS for path in files if path.match(f"{kind}-*.svg")]


def element(kind: str, table: Table | PaperTable, path: Path) -> str:
    """One figure with its caption and text alternative."""
    title = f"{kind.capitalize()}: {table.title}"
    description = f"{CAPTIONS[kind]} Methods from the top: {', '.join(row.method for row in table.rows)}."
    svg = inline(
        path.read_text(encoding="utf-8"), name=f"{kind}-{anchor_of(table)}", title=title, description=description
    )
    return figure(svg, CAPTIONS[kind])
