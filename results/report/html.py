"""Sections as one web page that needs no other file, no script and no network: templates of Jinja2 with autoescape."""

from __future__ import annotations

from base64 import b64encode
from itertools import groupby
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from results.figures.svg import inline
from results.files import read_bytes
from results.report.section import MISSING, Detail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.report.section import Column, Figure, Row, Section


def render(sections: Sequence[Section], *, title: str, headline: str) -> str:
    """The whole page.

    Args:
        sections: of the report.
        title: of the page.
        headline: one sentence below it.
    """
    environment = Environment(
        loader=PackageLoader("results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        Detail=Detail, MISSING=MISSING, column_groups=column_groups, row_groups=row_groups, graphic=graphic
    )
    return environment.get_template("page.html").render(sections=sections, title=title, headline=headline)


def column_groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The groups of neighbouring columns, and how many columns each has; none if no column has a group."""
    if not any(column.group for column in columns):
        return []
    return [(group, len(list(same))) for group, same in groupby(columns, key=lambda column: column.group)]


def row_groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The groups of neighbouring rows."""
    return [list(same) for _, same in groupby(rows, key=lambda row: row.group)]


def graphic(figure: Figure) -> Markup:
    """The content of a figure's file as an element: an SVG that is described, or an image."""
    if figure.path.suffix == ".svg":
        svg = read_bytes(figure.path).decode()
        return Markup(inline(svg, name=figure.name, title=figure.title, description=figure.description))  # noqa: S704
    data = b64encode(read_bytes(figure.path)).decode("ascii")
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, figure.title)
