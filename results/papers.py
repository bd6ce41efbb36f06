"""The tables of papers, in their own rows and columns, each cell with our number or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.published import OVER, PLACE, UNTRAINED, WITHIN, base, named
from results.tables import MISSING, Cell, data_words, half_of, records, unique_name

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Sequence

TITLE = "Published beside measured"
CAPTION = (
    "Accuracy in percent. Published: mean ± standard deviation. Ours: mean ± half-width of the 95 % interval (seeds); "
    "where several of ours correspond, that with the fewest differences in conditions, then the longest trained. "
    "Difference: ours − published, in points. Where the conditions agree, the verdict says whether the published mean "
    "lies within our interval, or the interval lies higher or lower."
)

CLOSE = 1.5
"""Points between two means that are as good as one."""

UNPUBLISHED = "not published"
TABLE = ["source", "table"]
FIGURE = "Figure"

SERIES_COLUMNS = ["panel", "method", "whose", "x", "place", "value", "half", "xlabel", "ylabel"]
"""Of a figure's points: ``whose`` tells published ones and our protocols apart, ``half`` is deviation or interval,
``place`` the name of ``x`` where it is no number."""


@dataclass(frozen=True)
class Heading:
    """One column of a published table.

    Attributes:
        name: as the paper calls it.
        data: data sets that correspond to it here; empty if its cells differ in that, and likewise ``measure``.
        measure: backbone, evaluation.
    """

    name: str
    data: str
    measure: str


@dataclass(frozen=True)
class Line:
    """One line of a method's cells.

    Attributes:
        kind: ``published``, ``ours``, ``difference`` or ``verdict``.
        texts: one per column.
    """

    kind: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table.

    Attributes:
        method: as the paper calls it.
        lines: of its cells; ``ours`` and ``difference`` only where something was measured.
    """

    method: str
    lines: tuple[Line, ...]

    @property
    def named(self) -> list[tuple[str, Line]]:
        """Its lines, the first with its name."""
        return [(self.method if line is self.lines[0] else "", line) for line in self.lines]


@dataclass(frozen=True)
class PaperTable:
    """One published table.

    Attributes:
        name: safe as part of a file's name.
        title: source, and which table of it.
        columns: in the order of the paper; likewise ``rows``.
        rows: of it.
        notes: how many numbers agree, and what the numbers in brackets stand for.
    """

    name: str
    title: str
    columns: tuple[Heading, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]

    @property
    def widths(self) -> list[int]:
        """Of the columns, in characters."""
        cells = zip(*(line.texts for row in self.rows for line in row.lines), strict=True)
        words = [
            (column.name, column.data, column.measure, *texts)
            for column, texts in zip(self.columns, cells, strict=True)
        ]
        return [max(map(len, of_column)) for of_column in words]

    @property
    def names(self) -> int:
        """Width of the names of rows and lines together, in characters."""
        return max(len(row.method) for row in self.rows) + max(
            len(line.kind) for row in self.rows for line in row.lines
        )


@dataclass(frozen=True)
class Papers:
    """Everything published that our runs can be held against.

    Attributes:
        comparison: what ``results.published.compare`` returned.
        tables: those of which something was measured, or that were published under a protocol that was run.
        series: by name of a table that is a figure in the paper, its points and ours, ``SERIES_COLUMNS``.
        notes: how many numbers agree, by source, and which tables are left out.
    """

    comparison: pd.DataFrame
    tables: tuple[PaperTable, ...]
    series: dict[str, pd.DataFrame]
    notes: tuple[str, ...]


def build(comparison: pd.DataFrame, protocols: Container[str]) -> Papers:
    """The tables to show.

    Args:
        comparison: what ``results.published.compare`` returned.
        protocols: names of those that runs were made under.
    """
    cells = comparison.drop_duplicates("number")
    all_tables = {(str(source), str(table)): rows for (source, table), rows in cells.groupby(TABLE, sort=False)}
    shown = {key: rows for key, rows in all_tables.items() if is_near(rows, protocols)}
    tables: list[PaperTable] = []
    series = {}
    for key, rows in shown.items():
        name = unique_name("-".join(key), [table.name for table in tables])
        tables.append(build_one(name, ", ".join(key), rows))
        if key[1].startswith(FIGURE) and rows["mean"].notna().any():
            series[name] = series_of(comparison[comparison["number"].isin(rows["number"])])
    left_out = [key for key in all_tables if key not in shown]
    return Papers(comparison, tuple(tables), series, (*totals(cells, shown), *left_out_line(left_out, shown)))


def is_near(cells: pd.DataFrame, protocols: Container[str]) -> bool:
    """Whether something of a table was measured, or runs were made under its protocol."""
    return bool(cells["mean"].notna().any()) or any(base(name) in protocols for name in cells["their_protocol"])


def totals(cells: pd.DataFrame, shown: Collection[tuple[str, str]]) -> Iterator[str]:
    """How many numbers of each source agree; one that several tables repeat counts once."""
    near = {source for source, _ in shown}
    for source, rows in cells.groupby("source", sort=False):
        if source in near:
            yield f"{source!s}. {agreement(rows.drop_duplicates([*PLACE, 'their_method', 'published']))}"


def left_out_line(keys: Sequence[tuple[str, str]], shown: Collection[tuple[str, str]]) -> Iterator[str]:
    """Which tables are not shown, by their source alone where that says it."""
    partly = {source for source, _ in shown}
    names = dict.fromkeys(", ".join(key) if key[0] in partly else key[0] for key in keys)
    if names:
        yield f"Nothing was run of {'; '.join(names)}. published.csv holds their numbers."


def build_one(name: str, title: str, cells: pd.DataFrame) -> PaperTable:
    """The table of some cells, a row each."""
    names = list(cells["column"].unique())
    reasons: dict[str, int] = {}
    rows = tuple(
        PaperRow(str(row), tuple(lines_of({cell["column"]: cell for cell in records(of_row)}, names, reasons)))
        for row, of_row in cells.groupby("row", sort=False)
    )
    explained = [*gain_line(cells), *(f"[{number}] {reason}" for reason, number in reasons.items())]
    columns = tuple(heading(column, cells[cells["column"] == column]) for column in names)
    return PaperTable(name, title, columns, rows, (agreement(cells), *explained))


def gain_line(cells: pd.DataFrame) -> Iterator[str]:
    """What a table of gains counts from."""
    references = dict.fromkeys(named(metric.partition(OVER)[2]) for metric in cells["metric"] if OVER in metric)
    if references:
        yield f"Gains in points over {', '.join(references)}; ours paired over seeds."


def lines_of(cells: dict[str, dict[str, Any]], columns: Sequence[str], reasons: dict[str, int]) -> Iterator[Line]:
    """The lines of one row.

    Args:
        cells: of the row, by column.
        columns: of the table.
        reasons: those met before with their numbers; new ones are added.
    """
    measured = [column for column, cell in cells.items() if not math.isnan(cell["mean"])]
    row = [cells.get(column) for column in columns]
    yield Line("published", tuple(MISSING if c is None else spread(c["published"], c["published_std"]) for c in row))
    if measured:
        yield Line("ours", tuple(ours(cells[c]) if c in measured else MISSING for c in columns))
        yield Line("difference", tuple(difference(cells[c]) if c in measured else MISSING for c in columns))
    yield Line("verdict", tuple(UNPUBLISHED if c is None else marked(c["verdict"], reasons) for c in row))


def ours(cell: dict[str, Any]) -> str:
    """``61.21 ± 0.57 (3)``."""
    n = int(cell["n"])
    return Cell(cell["mean"], half_of(cell), n, planned=n).text


def difference(cell: dict[str, Any]) -> str:
    """``+0.18``."""
    return Cell(cell["difference"], None, 1, planned=1, signed=True).number


def spread(mean: float, deviation: float) -> str:
    """``61.03 ± 0.23``, as far as it is known."""
    return Cell(mean, None if math.isnan(deviation) else deviation, 1, planned=1).number


def marked(verdict: str, reasons: dict[str, int]) -> str:
    """A verdict with the number of its reason in its place."""
    word, _, reason = verdict.partition(": ")
    return f"{word} [{reasons.setdefault(reason, len(reasons) + 1)}]" if reason else word


def heading(name: str, cells: pd.DataFrame) -> Heading:
    """The heading of a column of cells."""
    trained = cells[cells["name"] != UNTRAINED]
    places = trained[["their_dataset", "evaluated_on", "backbone", "their_evaluation"]].drop_duplicates()
    if len(places) != 1:
        return Heading(name, "", "")
    dataset, evaluated_on, backbone, evaluation = places.iloc[0]
    return Heading(name, data_words(dataset, evaluated_on), f"{backbone} {evaluation}".strip())


def series_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """The points of a published figure and all of ours that correspond to them; its columns name their places on x.

    Returns:
        ``SERIES_COLUMNS``.
    """
    theirs = pairs.drop_duplicates("number")
    theirs = theirs.assign(whose="published", value=theirs["published"], half=theirs["published_std"])
    ours = pairs[pairs["mean"].notna()]
    names = [line_name(row) for row in records(ours)]
    ours = ours.assign(whose=names, value=ours["mean"], half=(ours["high"] - ours["low"]) / 2)
    points = pd.concat([theirs, ours], ignore_index=True)
    reference = points["metric"].str.partition(OVER)[2].map(named)
    number, unit = points["column"].str.extract(r"^([\d.]+) +(.*)").to_numpy().T
    is_place = pd.isna(number).all()
    return points.assign(
        panel=points["backbone"] if is_place else points["evaluated_on"] + ", " + points["backbone"],
        method=points["name"],
        x=pd.factorize(points["column"])[0] + 1.0 if is_place else number.astype(float),
        place=points["column"] if is_place else "",
        xlabel="" if is_place else unit,
        ylabel=("gain over " + reference + " (points)").where(reference != "", "accuracy (%)"),
    )[SERIES_COLUMNS]


def line_name(row: dict[str, Any]) -> str:
    """What the points of one line of ours share."""
    variant = row["method"] if row["variant"] == "" and row["method"] != row["name"] else ""
    return ", ".join(filter(None, ("ours", row["protocol"], variant)))


def agreement(cells: pd.DataFrame) -> str:
    """How many numbers agree, in words."""
    same = cells[cells["mean"].notna() & ~cells["verdict"].str.startswith("not comparable")]
    close = (same["verdict"] == WITHIN) | (same["difference"].abs() <= CLOSE)
    text = f"{len(cells)} published, {cells['mean'].count()} measured here, {len(same)} under the same conditions"
    among = f"; within our interval or {CLOSE} points of our mean: {close.sum()} of {len(same)}" if len(same) else ""
    return f"Numbers: {text}{among}."
