"""The numbers behind sections as CSV files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from results.report.section import Section

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these is a formula to spreadsheets."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def render(sections: Iterable[Section]) -> dict[str, str]:
    """The content of every CSV file, by its name."""
    return {f"{name}.csv": to_csv(frame) for section in sections for name, frame in section.frames.items()}


def to_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV; no text in it is a formula."""
    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{name: frame[name].map(without_formula) for name in texts}).to_csv(index=False)


def without_formula(cell: Any) -> Any:
    """A cell; a text that a spreadsheet would compute begins with an apostrophe. Numbers written as text stay."""
    if isinstance(cell, str) and cell.startswith(FORMULAS) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
