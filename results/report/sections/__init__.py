"""The sections of a report, one file each.

A section is a function under ``@register_section(position=…)`` in a module of this package: it takes the
:class:`~results.report.data.ReportData` and yields any number of :class:`~results.report.section.Section`. Every format
shows it. A new file is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from results.report.data import ReportData
    from results.report.section import Section

    SectionBuilder: TypeAlias = Callable[[ReportData], Iterator[Section]]

_builders: dict[SectionBuilder, int] = {}


def register_section(*, position: int) -> Callable[[SectionBuilder], SectionBuilder]:
    """Decorator: add what a function yields to every report; lower positions come first."""

    def register(builder: SectionBuilder) -> SectionBuilder:
        _builders[builder] = position
        return builder

    return register


def build_sections(data: ReportData) -> list[Section]:
    """All sections of a report, in their order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return [section for builder in sorted(_builders, key=_builders.__getitem__) for section in builder(data)]
