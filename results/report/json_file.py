"""Sections as JSON: what every other format shows, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.report.section import Cell, Section, Table

VERSION = 1
"""Of the format; raised when a key changes its meaning."""


def render(sections: Iterable[Section]) -> str:
    """Every section of every level of detail as one JSON object, and the numbers behind it as rows of ``frames``."""
    content = [
        {
            **{key: getattr(section, key) for key in ("name", "title", "lead", "text", "notes", "problems")},
            "tables": list(map(table_object, section.tables)),
            "frames": {name: json.loads(frame.to_json(orient="records")) for name, frame in section.frames.items()},
        }
        for section in sections
    ]
    return json.dumps({"version": VERSION, "sections": content}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def table_object(table: Table) -> dict[str, Any]:
    """A table; its cells in the order of its columns, null where there is nothing."""
    return {
        **{key: getattr(table, key) for key in ("name", "title", "caption", "notes", "names")},
        "columns": [{"group": column.group, "name": column.name, "about": column.about} for column in table.columns],
        "rows": [
            {"header": row.header, "group": row.group, "cells": list(map(cell_object, row.cells))} for row in table.rows
        ],
    }


def cell_object(cell: Cell | None) -> dict[str, Any] | None:
    """The text and the marks of a cell; ``best`` where it stands out."""
    if cell is None:
        return None
    return {"value": cell.value, "seeds": cell.seeds, "marks": cell.marks, "best": cell.is_best}
