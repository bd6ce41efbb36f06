"""Which published tables to show beside our numbers, and the points of those that are figures in their paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.analysis.comparison import (
    AGREES,
    CANNOT_TELL,
    DIFFERS,
    NOT_COMPARABLE,
    OVER,
    PAIR_KEYS,
    base_name,
    compare,
    is_untrained,
    reference_name,
)
from results.analysis.tables import records, unique_name
from results.published import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from results.analysis.frame import Frames

FIGURE = "Figure"
"""With which the names of published tables begin that are figures in their paper."""

SERIES_COLUMNS = ["panel", "method", "origin", "x", "x_label", "value", "half", "xlabel", "ylabel"]
"""Of a figure's points: ``origin`` tells published points and our protocols apart, ``half`` is the standard deviation
of a published and half the interval of a measured point, ``x_label`` the name of ``x`` where it is no number."""


@dataclass(frozen=True)
class PublishedTable:
    """One published table and our numbers for it.

    Attributes:
        name: safe as part of a file's name.
        source: where it was published.
        table: which table of it.
        cells: a row per published number, with the nearest cell of ours; columns as from ``compare``.
        series: of a figure that something was measured of, its points and ours, ``SERIES_COLUMNS``; else None.
    """

    name: str
    source: str
    table: str
    cells: pd.DataFrame
    series: pd.DataFrame | None

    @property
    def title(self) -> str:
        """Source and table."""
        return f"{self.source}, {self.table}"


@dataclass(frozen=True)
class Comparison:
    """Everything published that our runs can be compared with.

    Attributes:
        pairs: what ``results.analysis.comparison.compare`` returns.
        tables: those of which something was measured, or that were published under a protocol that was run.
        omitted: source and table of the others.
    """

    pairs: pd.DataFrame
    tables: tuple[PublishedTable, ...]
    omitted: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Agreement:
    """How many numbers agree.

    Attributes:
        published: all numbers.
        measured: those that something here corresponds to.
        trained: methods, random weights aside, that have a number under the same conditions.
        agree: numbers of these methods under the same conditions that agree.
        differ: those that differ.
        undecided: those of which neither can be told.
    """

    published: int
    measured: int
    trained: int
    agree: int
    differ: int
    undecided: int


def compare_with_published(frames: Frames, summary: pd.DataFrame, absent: Callable[[str], bool]) -> Comparison:
    """Compare the runs with every published number.

    Args:
        frames: all runs.
        summary: ``results.analysis.statistics.summarize`` of their unrefined results.
        absent: whether a data set, by its name, is not on this machine; asked of those that no run has used.
    """
    pairs = compare(frames, summary, load(), absent)
    protocols = set(frames.runs["protocol"].dropna().map(base_name))
    tables: list[PublishedTable] = []
    omitted = []
    for (source, table), cells in pairs.drop_duplicates("number").groupby(["source", "table"], sort=False):
        measured = bool(cells["mean"].notna().any())
        if not measured and not any(base_name(name) in protocols for name in cells["their_protocol"]):
            omitted.append((str(source), str(table)))
            continue
        name = unique_name(f"{source}-{table}", [other.name for other in tables])
        is_figure = str(table).startswith(FIGURE) and measured
        series = series_of(pairs[pairs["number"].isin(cells["number"])]) if is_figure else None
        tables.append(PublishedTable(name, str(source), str(table), cells, series))
    return Comparison(pairs, tuple(tables), tuple(omitted))


def count_agreement(cells: pd.DataFrame) -> Agreement:
    """How many of some published numbers agree with ours."""
    trained = ~cells["name"].map(is_untrained)
    same = cells[trained & cells["mean"].notna() & ~cells["verdict"].str.startswith(NOT_COMPARABLE)]
    counts = [int(same["verdict"].str.startswith(verdict).sum()) for verdict in (AGREES, DIFFERS, CANNOT_TELL)]
    return Agreement(len(cells), int(cells["mean"].count()), int(same["name"].nunique()), *counts)


def without_repetitions(cells: pd.DataFrame) -> pd.DataFrame:
    """Published numbers of one source, one that several of its tables repeat only once."""
    return cells.drop_duplicates([*PAIR_KEYS, "their_method", "published"])


def series_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """The points of a published figure and all of ours that correspond to them; x is what its columns are called.

    Returns:
        ``SERIES_COLUMNS``.
    """
    theirs = pairs.drop_duplicates("number")
    theirs = theirs.assign(origin="published", value=theirs["published"], half=theirs["published_std"])
    ours = pairs[pairs["mean"].notna()]
    origins = [origin_of(pair) for pair in records(ours)]
    ours = ours.assign(origin=origins, value=ours["mean"], half=(ours["high"] - ours["low"]) / 2)
    points = pd.concat([theirs, ours], ignore_index=True)
    reference = points["metric"].str.partition(OVER)[2].map(reference_name)
    number, unit = points["column"].str.extract(r"^([\d.]+) +(.*)").to_numpy().T
    is_named = pd.isna(number).all()
    return points.assign(
        panel=points["backbone"] if is_named else points["evaluated_on"] + ", " + points["backbone"],
        method=points["name"],
        x=pd.factorize(points["column"])[0] + 1.0 if is_named else number.astype(float),
        x_label=points["column"] if is_named else "",
        xlabel="" if is_named else unit,
        ylabel=("gain over " + reference + " (points)").where(reference != "", "accuracy (%)"),
    )[SERIES_COLUMNS]


def origin_of(pair: dict[str, Any]) -> str:
    """What our points on one line share: the protocol, and the changes of the method."""
    variant = pair["method"] if pair["variant"] == "" and pair["method"] != pair["name"] else ""
    return ", ".join(filter(None, ("ours", pair["protocol"], variant)))
