"""Figures made fit to stand inside a page: named, described, without foreign parts."""

from __future__ import annotations

import re
from html import escape


def inline(svg: str, *, name: str, title: str, description: str) -> str:
    """An SVG document as an element of a page.

    Args:
        svg: as matplotlib writes it.
        name: begins all its identifiers, so that several figures can share a page.
        title: short text alternative.
        description: long one.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="|href="#|url\(#', lambda start: f"{start[0]}{name}-", body)
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    opening = re.compile(r"<svg[^>]*>")
    match = opening.search(body)
    assert match is not None
    box = re.search(r'viewBox="[^"]*"', match.group())
    head = f'<svg {box.group() if box else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
    return opening.sub(lambda _: head + words, body, count=1).strip()
