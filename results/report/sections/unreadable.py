"""Runs and searches that cannot be read and therefore belong to no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.report.section import Section
from results.report.sections import register_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results.report.data import ReportData


@register_section(position=40)
def unreadable(data: ReportData) -> Iterator[Section]:
    """One line per run whose files are damaged, and per damaged file of a search."""
    problems = data.frames.problems
    lines = [f"{row.run}: {row.status}: {row.reason}" for row in problems[problems["dataset"].isna()].itertuples()]
    lines += data.frames.tuning.problems
    if lines:
        yield Section(name="unreadable", title="What cannot be read", problems=tuple(lines))
