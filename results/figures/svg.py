"""Figures made fit to stand inside a page: named, described, without foreign parts."""

from __future__ import annotations

import re
from html import escape

from results.figures.markers import COLOURS, DARK_COLOURS

INK, GROUND, GRID = ("#000000", "#1a1a1a", "#262626", "#333333"), "#ffffff", "#dddddd"
"""Colours of text and lines, of what is empty, and of grids."""


def dark_colours() -> dict[str, str]:
    """What replaces the colours of figures on a dark page, as values of CSS."""
    others = {**dict.fromkeys(INK, "currentColor"), GROUND: "var(--ground)", GRID: "var(--line)", "#777777": "#9a9a9a"}
    return {**others, **dict(zip(COLOURS, DARK_COLOURS, strict=True))}


def inline(svg: str, *, name: str, title: str, description: str) -> str:
    """An SVG document as an element of a page; styles become attributes, which a Content-Security-Policy allows.

    Args:
        svg: as matplotlib writes it.
        name: begins all its identifiers, so that several figures can share a page.
        title: short text alternative.
        description: long one.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|(?<=\n) +", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="|href="#|url\(#', lambda start: f"{start[0]}{name}-", body)
    body = re.sub(r' style="([^"]*)"', lambda found: style_attributes(found[1]), body)
    body = re.sub(r'(?<= )(?:d|x|y)="[^"]*"', lambda found: round_numbers(found[0]), body)
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    opening = re.compile(r"<svg[^>]*>")
    match = opening.search(body)
    assert match is not None
    box = re.search(r'viewBox="[^"]*"', match.group())
    joins = 'stroke-linejoin="round" stroke-linecap="butt"'
    head = f'<svg {box.group() if box else ""} {joins} role="img" aria-labelledby="{name}-title {name}-desc">'
    return opening.sub(lambda _: head + words, body, count=1).strip()


def round_numbers(text: str) -> str:
    """Coordinates with two decimals, which is a hundredth of a point."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


def style_attributes(style: str) -> str:
    """Declarations as attributes: `` fill="none" stroke="#000000"``."""
    pairs = (declaration.partition(":")[::2] for declaration in style.split(";") if ":" in declaration)
    return "".join(f' {key.strip()}="{value.strip()}"' for key, value in pairs)
