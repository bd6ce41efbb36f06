"""Tables for a terminal, by rich."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from results.notes import PAIRED_CAPTION, UNPLACED_TITLE, shortened
from results.published import CAPTION, TITLE, lines_of
from results.tables import MISSING, fitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from rich.console import RenderableType

    from results.tables import Cell, Column, Row, Table


def blocks_of(table: Table, width: int) -> Iterator[RenderableType]:
    """One table with its caption, notes and problems, no wider than ``width`` characters."""
    yield Text(table.title, style="bold")
    yield Text(table.caption, style="dim")
    yield from grids(table.columns, table.rows, width)
    yield from (Text(note, style="dim") for note in table.notes)
    if table.paired:
        yield Text()
        yield Text(PAIRED_CAPTION, style="dim")
        yield from grids(table.columns, table.paired, width)
    yield from problem_lines(table.problems)
    yield Text()


def grids(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Iterator[Grid]:
    """The rows; columns that do not fit side by side follow in further grids."""
    if not rows:
        return
    cells = [aligned([row.cells[place] for row in rows]) for place in range(len(columns))]
    headers = [max(len(column.data), len(column.measure)) for column in columns]
    widths = [max(header, len(texts[0])) for header, texts in zip(headers, cells, strict=True)]
    names = max(len(row.method) for row in rows)
    for places in fitting(widths, width - names):
        yield grid(places, columns, rows, cells)


def aligned(cells: Sequence[Cell | None]) -> list[str]:
    """The texts of a column, all of one width, with their numbers below each other."""
    seeds = max(len(cell.seeds) for cell in cells if cell)
    marks = max(len(cell.marks) for cell in cells if cell)
    texts = [f"{cell.number} {cell.seeds:<{seeds}} {cell.marks:<{marks}}" if cell else MISSING for cell in cells]
    width = max(map(len, texts))
    return [text.rjust(width) if text != MISSING else text.center(width) for text in texts]


def grid(places: Sequence[int], columns: Sequence[Column], rows: Sequence[Row], texts: Sequence[list[str]]) -> Grid:
    """One grid of some of the columns, the best in bold, a line between anchors and methods.

    Args:
        places: which columns.
        columns: all columns.
        rows: all rows.
        texts: of all cells, by column and row.
    """
    table = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for place in places:
        table.add_column(Text(f"{columns[place].data}\n{columns[place].measure}"), justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        if index and row.anchor != rows[index - 1].anchor:
            table.add_section()
        cells = [(texts[place][index], row.cells[place]) for place in places]
        table.add_row(Text(row.method), *(Text(text, style="bold" if c and c.best else "") for text, c in cells))
    return table


def problem_lines(problems: Sequence[str]) -> Iterator[Text]:
    """The first of the problems, and how many more there are."""
    return (Text(f"! {problem}", style="yellow") for problem in shortened(problems))


def unplaced_blocks(problems: Sequence[str]) -> Iterator[RenderableType]:
    """The problems that belong to no table."""
    if problems:
        yield Text(UNPLACED_TITLE, style="bold")
        yield from problem_lines(problems)


def comparison_blocks(comparison: pd.DataFrame) -> Iterator[RenderableType]:
    """Published beside measured, one grid per source, data set and evaluation; reasons follow as numbered notes."""
    yield Text(TITLE, style="bold")
    yield Text(CAPTION, style="dim")
    reasons: dict[str, int] = {}
    for (data, evaluation, source), lines in groupby(lines_of(comparison), key=lambda line: (*line[1:3], line[-1])):
        title = Text(f"{data}, {evaluation}: {source}")
        table = Grid(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        table.add_column("method", overflow="fold")
        for name in ("measured", "published", "difference"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for method, _, _, *numbers, verdict, _ in lines:
            word, _, reason = verdict.partition(": ")
            mark = f" [{reasons.setdefault(reason, len(reasons) + 1)}]" if reason else ""
            table.add_row(*map(Text, (method, *numbers, word + mark)))
        yield table
    for reason, number in reasons.items():
        yield Text(f"[{number}] {reason}", style="dim")
