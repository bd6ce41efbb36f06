"""Sections as JSON: what every other format shows, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.report.section import Cell, Section, Table

VERSION = 1
"""Of the format; raised when a key changes its meaning."""

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def render(sections: Iterable[Section]) -> str:
    """Every section of every level of detail as one JSON object, and the numbers behind it as rows of ``frames``.

    Each row of a table and of a frame is one line.
    """
    return f'{{"version": {VERSION}, "sections": {array(map(section_text, sections))}}}\n'


def section_text(section: Section) -> str:
    """A section as a JSON object."""
    words = {key: getattr(section, key) for key in ("name", "title", "lead", "text", "notes", "problems")}
    frames = [
        f"{encode(name)}: {array(map(encode, json.loads(frame.to_json(orient='records'))))}"
        for name, frame in section.frames.items()
    ]
    return with_members(words, tables=array(map(table_text, section.tables)), frames=f"{{{', '.join(frames)}}}")


def table_text(table: Table) -> str:
    """A table as a JSON object; its cells in the order of its columns, null where there is nothing."""
    words = {
        **{key: getattr(table, key) for key in ("name", "title", "caption", "notes", "names")},
        "columns": [{"group": column.group, "name": column.name, "about": column.about} for column in table.columns],
    }
    rows = (
        {"header": row.header, "group": row.group, "cells": list(map(cell_object, row.cells))} for row in table.rows
    )
    return with_members(words, rows=array(map(encode, rows)))


def array(texts: Iterable[str]) -> str:
    """Elements that are JSON already as an array, a line each; json.dumps with an indent is slow."""
    lines = ",\n".join(texts)
    return f"[\n{lines}\n]" if lines else "[]"


def with_members(words: dict[str, Any], **members: str) -> str:
    """A JSON object of plain values and of further members that are JSON already."""
    return "".join([encode(words)[:-1], *(f', "{key}": {text}' for key, text in members.items()), "}"])


def cell_object(cell: Cell | None) -> dict[str, Any] | None:
    """The text and the marks of a cell; ``best`` where it stands out."""
    if cell is None:
        return None
    return {"value": cell.value, "seeds": cell.seeds, "marks": cell.marks, "best": cell.is_best}
