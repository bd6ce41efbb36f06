"""Runs that cannot be read and therefore belong to no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.report.section import Section
from results.report.sections import register_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results.report.data import ReportData


@register_section(position=30)
def unreadable(data: ReportData) -> Iterator[Section]:
    """One line per run whose files are damaged."""
    problems = data.frames.problems
    lines = [f"{row.run}: {row.status}: {row.reason}" for row in problems[problems["dataset"].isna()].itertuples()]
    if lines:
        yield Section(name="unreadable", title="Runs that cannot be read", problems=tuple(lines))
