"""Sections as one web page that needs no other file and no network: templates of Jinja2 with autoescape.

A small script sorts and filters tables; everything can be read without it. The page's Content-Security-Policy allows
nothing but this script, its style and the pictures within the page. What is shown is decided in
``results/report/sections``.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from itertools import groupby
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from results.figures.svg import dark_colours, inline
from results.files import read_bytes
from results.report.section import MISSING, Detail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.report.section import Column, Figure, Row, Section, Table


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
    anchors = {row.anchor for section in sections for table in section.tables for row in table.rows if row.anchor}
    environment.globals.update(
        MISSING=MISSING,
        anchors=anchors,
        column_groups=column_groups,
        row_groups=row_groups,
        is_folded=is_folded,
        is_sortable=is_sortable,
        graphic=graphic,
    )
    style = environment.get_template("style.css").render(dark_colours=dark_colours())
    script = environment.loader.get_source(environment, "table.js")[0] if environment.loader else ""
    policy = (
        f"default-src 'none'; script-src {source_of(script)}; style-src {source_of(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template("page.html")
    return page.render(
        sections=sections,
        title=title,
        headline=headline,
        policy=policy,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
    )


def source_of(text: str) -> str:
    """What a Content-Security-Policy calls a text within the page."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def is_folded(table: Table, section: Section) -> bool:
    """Whether a reader opens a table on demand."""
    return table.is_long or (table.detail > Detail.MAIN and section.detail < Detail.ALL)


def is_sortable(table: Table) -> bool:
    """Whether rows can change their order: every row has one name, and there are several."""
    return (
        len(table.names) == 1
        and bool(table.names[0])
        and len(table.rows) > 2
        and any(row.header[0] for row in table.rows[1:])
    )


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
        svg, name = read_bytes(figure.path).decode(), f"f{zlib.crc32(figure.name.encode()):x}"
        element = inline(svg, name=name, title=figure.title, description=figure.description)
        return Markup(element)  # noqa: S704 - texts in it are escaped
    data = b64encode(read_bytes(figure.path)).decode("ascii")
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, figure.title)
