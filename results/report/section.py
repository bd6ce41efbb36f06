"""The one model of a report that every output format renders: sections with text, tables and figures.

A renderer knows these classes and nothing about runs; a builder in ``results.report.sections`` knows the runs and
nothing about formats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd

MISSING = "–"
"""Shown for a cell without a number."""

MOST_PROBLEMS = 12
"""Of a section, where there is no room for more."""


class Detail(IntEnum):
    """How much a format shows: everything up to its own level."""

    MAIN = 0
    """What a paper prints: terminal and LaTeX."""
    MORE = 1
    """What a reader of a text file scrolls through: Markdown."""
    ALL = 2
    """What a reader of a page opens on demand: HTML."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: of the column.
        group: above the name; neighbouring columns of the same group share it.
        about: further lines below the name.
        is_number: numbers are aligned to the right.
    """

    name: str
    group: str = ""
    about: tuple[str, ...] = ()
    is_number: bool = True

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything its header says, from top to bottom; no empty line."""
        return tuple(filter(None, (self.group, self.name, *self.about)))


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        value: a number with its interval, or words.
        seeds: number of seeds, in brackets.
        marks: symbols that the notes explain.
        is_best: whether it stands out.
        link: identifier of the row that it comes from, such as those of its runs; for formats that have links.
    """

    value: str
    seeds: str = ""
    marks: str = ""
    is_best: bool = False
    link: str = ""

    @property
    def text(self) -> str:
        """All of it: ``61.03 ± 0.57 (3) ≈``."""
        return " ".join(filter(None, (self.value, self.seeds, self.marks)))


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        header: its names, one per name column of the table.
        cells: one per column; None where there is nothing.
        group: neighbouring rows of the same group stand together.
        anchor: identifier that links lead to; unique in a report.
        link: identifier of the row that its first name leads to.
    """

    header: tuple[str, ...]
    cells: tuple[Cell | None, ...]
    group: str = ""
    anchor: str = ""
    link: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: safe as an identifier.
        path: of an SVG or PNG file.
        title: short text alternative.
        caption: below it.
        description: long text alternative.
    """

    name: str
    path: Path
    title: str
    caption: str
    description: str = ""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: safe as an identifier.
        names: headers of the columns that name a row.
        columns: the other columns.
        rows: from top to bottom.
        title: heading; empty if the section's is enough.
        caption: what its numbers are.
        notes: below it.
        figures: of the same numbers.
        detail: formats of a lower level leave it out.
        is_long: whether a page shows it on demand only.
    """

    name: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    caption: str = ""
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    detail: Detail = Detail.MAIN
    is_long: bool = False


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Attributes:
        name: safe as an identifier.
        title: heading.
        lead: sentences that answer what the report is about.
        text: what it shows.
        notes: what holds of all its tables.
        tables: those of the main level first; the others follow the figures.
        problems: what is not in the tables or to be read with care, a line each.
        figures: of the whole section.
        remark: below the figures.
        frames: the numbers behind it, by name of a CSV file.
        detail: formats of a lower level leave it out.
    """

    name: str
    title: str
    lead: tuple[str, ...] = ()
    text: str = ""
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    problems: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    remark: str = ""
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    detail: Detail = Detail.MAIN

    def tables_of(self, *levels: Detail) -> list[Table]:
        """Its tables of some levels of detail."""
        return [table for table in self.tables if table.detail in levels]


def text_table(
    name: str, header: Iterable[str], lines: Iterable[Iterable[str]], *, words: Iterable[int] = (), **options: object
) -> Table:
    """A table of texts whose first cells name their rows.

    Args:
        name: of the table.
        header: names of all columns.
        lines: texts of all cells.
        words: indices of the columns, the first being 1, that hold words instead of numbers.
        options: further attributes of :class:`Table`.
    """
    first, *others = header
    words = set(words)
    columns = tuple(Column(text, is_number=index not in words) for index, text in enumerate(others, start=1))
    rows = tuple(Row((row_name,), tuple(map(Cell, texts))) for row_name, *texts in lines)
    return Table(name, (first,), columns, rows, **options)  # type: ignore[arg-type]


def shorten_problems(problems: tuple[str, ...]) -> list[str]:
    """The first problems, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *[f"and {more} more, which table.md lists"] * (more > 0)]


def fit_columns(widths: list[int], width: int, *, gap: int) -> list[list[int]]:
    """Which columns stand side by side: as many as fit; one that never fits stands alone.

    Args:
        widths: of the columns, in characters.
        width: of the space there is.
        gap: characters between columns.

    Returns:
        Lists of indices.
    """
    parts: list[list[int]] = []
    free = 0
    for index, needed in enumerate(widths):
        if needed + gap > free or not parts:
            parts.append([])
            free = width
        parts[-1].append(index)
        free -= needed + gap
    return parts


def column_widths(table: Table) -> list[int]:
    """Characters of the widest text of every column."""
    return [
        max(
            [
                *map(len, column.lines),
                *(len(cell.text if (cell := row.cells[index]) else MISSING) for row in table.rows),
            ],
            default=0,
        )
        for index, column in enumerate(table.columns)
    ]


def name_widths(table: Table) -> list[int]:
    """Characters of the widest text of every column that names rows."""
    return [
        max(len(name), *(len(row.header[index]) for row in table.rows)) if table.rows else len(name)
        for index, name in enumerate(table.names)
    ]
