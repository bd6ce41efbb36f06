"""Sections for a terminal, by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from results.report.section import MISSING, Detail, fit_columns, name_widths, shorten_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from results.report.section import Cell, Section, Table

GAP, EDGES = 3, 2
"""Characters between the columns of a grid, and around it."""


def render(sections: Iterable[Section], width: int) -> Iterator[RenderableType]:
    """The report as blocks to be printed one after the other, no wider than ``width`` characters; no figures."""
    for section in sections:
        if section.detail > Detail.MAIN:
            continue
        yield Text(section.title, style="bold")
        yield from map(bullet, section.lead)
        yield from (Text(text, style="dim") for text in filter(None, (section.text, *section.notes)))
        for index, table in enumerate(section.tables_of(Detail.MAIN)):
            if index or table.title:
                yield Text()
            if table.title:
                yield Text(table.title, style="bold")
            if table.caption:
                yield Text(table.caption, style="dim")
            yield from grids(table, width)
            yield from (Text(note, style="dim") for note in table.notes)
        yield from (Text(f"! {problem}", style="yellow") for problem in shorten_problems(section.problems))
        yield Text()


def bullet(text: str) -> RenderableType:
    """A sentence whose further lines are indented."""
    grid = Grid.grid(padding=(0, 1))
    grid.add_row(Text("•"), Text(text))
    return grid


def grids(table: Table, width: int) -> Iterator[Grid]:
    """A table; columns that do not fit side by side follow in further grids."""
    texts = [align([row.cells[index] for row in table.rows]) for index in range(len(table.columns))]
    widths = [
        max([*map(len, column.lines), *map(len, of_column)], default=0)
        for column, of_column in zip(table.columns, texts, strict=True)
    ]
    names = name_widths(table)
    for indices in fit_columns(widths, width - EDGES - sum(names) - GAP * (len(names) - 1), gap=GAP):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in table.names:
            grid.add_column(Text(name), no_wrap=True, style="dim" if len(grid.columns) else "")
        for index in indices:
            column = table.columns[index]
            grid.add_column(
                Text("\n".join(column.lines)), justify="right" if column.is_number else "left", no_wrap=True
            )
        for number, row in enumerate(table.rows):
            if number and row.group != table.rows[number - 1].group:
                grid.add_section()
            cells = [(texts[index][number], row.cells[index]) for index in indices]
            shown = (Text(text, style="bold" if cell and cell.is_best else "") for text, cell in cells)
            grid.add_row(*map(Text, row.header), *shown)
        yield grid


def align(cells: Sequence[Cell | None]) -> list[str]:
    """The texts of a column with their numbers, seeds and marks below each other."""
    seeds = max((len(cell.seeds) for cell in cells if cell), default=0)
    marks = max((len(cell.marks) for cell in cells if cell), default=0)
    texts = []
    for cell in cells:
        words = (cell.value, cell.seeds.ljust(seeds), cell.marks.ljust(marks)) if cell else (MISSING,)
        texts.append(" ".join(filter(None, words)))
    width = max(map(len, texts), default=0)
    return [text.center(width) if text == MISSING else text for text in texts]
