"""The numbers behind sections as CSV files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.report.section import Section


def render(sections: Iterable[Section]) -> dict[str, str]:
    """The content of every CSV file, by its name."""
    return {f"{name}.csv": frame.to_csv(index=False) for section in sections for name, frame in section.frames.items()}
