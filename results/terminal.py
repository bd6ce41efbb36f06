"""Tables for a terminal, by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from results import refinement
from results.notes import PAIRED_CAPTION, UNPLACED_TITLE, shortened
from results.papers import CAPTION, TITLE
from results.tables import MISSING, fitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from results.papers import Papers, PaperTable
    from results.refinement import RefinementTable
    from results.tables import Cell, Column, Row, Table

GAP, EDGES = 3, 2
"""Characters between the columns of a grid, and around it."""


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
    for places in fitting(widths, width - EDGES - names, gap=GAP):
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


def refinement_blocks(tables: Sequence[RefinementTable], width: int) -> Iterator[RenderableType]:
    """Every evaluation as it is and refined, no wider than ``width`` characters."""
    if not tables:
        return
    yield Text(refinement.TITLE, style="bold")
    yield from (Text(text, style="dim") for text in (refinement.CAPTION, *refinement.NOTES))
    for table in tables:
        yield Text()
        yield Text(table.title, style="bold")
        yield from text_grids(table.header, table.lines, width)
        if table.between:
            yield Text(refinement.BETWEEN, style="dim")
            yield from text_grids(table.between[0], table.between[1:], width)


def text_grids(header: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> Iterator[Grid]:
    """Lines of text, the first cell of each its name; columns that do not fit side by side follow in further grids."""
    names, *columns = zip(header, *lines, strict=True)
    widths = [max(map(len, column)) for column in columns]
    for places in fitting(widths, width - EDGES - max(map(len, names)), gap=GAP):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column(names[0], no_wrap=True)
        for place in places:
            grid.add_column(Text(columns[place][0]), justify="right", no_wrap=True)
        for number, name in enumerate(names[1:], start=1):
            grid.add_row(Text(name), *(Text(columns[place][number]) for place in places))
        yield grid


def paper_blocks(papers: Papers, width: int) -> Iterator[RenderableType]:
    """Published beside measured, no wider than ``width`` characters."""
    yield Text(TITLE, style="bold")
    yield from (Text(text, style="dim") for text in (CAPTION, *papers.notes))
    for table in papers.tables:
        yield Text()
        yield Text(table.title, style="bold")
        yield from paper_grids(table, width)
        yield from (Text(note, style="dim") for note in table.notes)


def paper_grids(table: PaperTable, width: int) -> Iterator[Grid]:
    """A published table; columns that do not fit side by side follow in further grids."""
    for places in fitting(table.widths, width - EDGES - GAP - table.names, gap=GAP):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("", no_wrap=True)
        grid.add_column("", style="dim", no_wrap=True)
        for column in (table.columns[place] for place in places):
            words = (column.name, column.data, column.measure)
            grid.add_column(Text("\n".join(filter(None, words))), justify="right", no_wrap=True)
        for row in table.rows:
            for name, line in row.named:
                grid.add_row(Text(name), line.kind, *(Text(line.texts[place]) for place in places))
            grid.add_section()
        yield grid
