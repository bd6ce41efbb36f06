"""Sections as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from results.report.section import MISSING, Detail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from results.report.section import Cell, Column, Section, Table

SPECIAL = re.compile(r"[\\`*\[|$~&<]|(?<!\w)_|_(?!\w)")
"""What would be formatting, a link, a formula or HTML; an underscore within a word is none of these."""

LINE_START = re.compile(r"^(\d*)([#>+=-]|(?<=\d)[.)])")
"""What would begin a heading, a quotation or a list where it begins a line."""

ENTITIES = {"&": "&amp;", "<": "&lt;"}

PROBLEMS = "Not in the table, or to be read with care:"


def render(sections: Iterable[Section]) -> str:
    """The whole report as one document, without figures."""
    shown = (section for section in sections if section.detail <= Detail.MORE)
    return "\n\n".join(block for section in shown for block in section_blocks(section)) + "\n"


def section_blocks(section: Section) -> Iterator[str]:
    """One section as blocks of Markdown."""
    yield f"## {escape(section.title)}"
    if section.lead:
        yield bullets(section.lead)
    if section.text:
        yield paragraph(section.text)
    if section.notes:
        yield bullets(section.notes)
    for table in section.tables_of(Detail.MAIN):
        if table.title:
            yield f"### {escape(table.title)}"
        yield from table_blocks(table)
    if section.problems:
        if section.tables:
            yield PROBLEMS
        yield bullets(section.problems)
    for table in section.tables_of(Detail.MORE):
        yield from table_blocks(table)


def table_blocks(table: Table) -> Iterator[str]:
    """One table with its caption above and its notes below."""
    if table.caption:
        yield paragraph(table.caption)
    lines = [
        line([*map(escape, table.names), *map(header, table.columns)]),
        line(["---"] * len(table.names) + ["---:" if column.is_number else "---" for column in table.columns]),
        *(line([*map(escape, row.header), *map(cell_text, row.cells)]) for row in table.rows),
    ]
    yield "\n".join(lines)
    if table.notes:
        yield bullets(table.notes)


def header(column: Column) -> str:
    """The header of a column in one line; a name with further lines in bold."""
    if column.about:
        return " ".join((f"**{escape(column.name)}**", *map(escape, column.about)))
    return " ".join(map(escape, column.lines))


def cell_text(cell: Cell | None) -> str:
    """A cell, the best in bold."""
    if cell is None:
        return MISSING
    text = escape(cell.text)
    return f"**{text}**" if cell.is_best else text


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {paragraph(text)}" for text in lines)


def escape(text: str) -> str:
    """Text in which nothing has a meaning to Markdown or HTML."""
    return SPECIAL.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), text)


def paragraph(text: str) -> str:
    """The same of text at the start of a line."""
    return LINE_START.sub(lambda found: f"{found[1]}\\{found[2]}", escape(text))
