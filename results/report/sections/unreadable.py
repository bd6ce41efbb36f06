"""Runs that differ between runs folders, and what cannot be read and therefore belongs to no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.report.section import Section
from results.report.sections import register_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results.report.data import ReportData


@register_section(position=40)
def unreadable(data: ReportData) -> Iterator[Section]:
    """One line per run that differs between runs folders or whose files are damaged, and per damaged search."""
    if data.frames.conflicts:
        yield Section(
            name="conflicts",
            title="Runs that differ between folders",
            text="The same run has different numbers; those of the folder that was named first are shown.",
            problems=data.frames.conflicts,
        )
    problems = data.frames.problems
    lines = [f"{row.run}: {row.status}: {row.reason}" for row in problems[problems["dataset"].isna()].itertuples()]
    lines += data.frames.tuning.problems
    if lines:
        yield Section(name="unreadable", title="What cannot be read", problems=tuple(lines))
