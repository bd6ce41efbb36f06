"""The tables of sections as a LaTeX document that compiles; with the docmute package a paper can input it."""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

from results.report.section import MISSING, Detail, column_widths, fit_columns, name_widths, shorten_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from results.report.section import Cell, Column, Row, Section, Table

PREAMBLE = r"""% A whole document. To show its tables in a paper, load booktabs and docmute there and \input this file.
\documentclass[10pt]{article}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
"""

ESCAPED = {
    "\\": r"\textbackslash{}",
    **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{symbol: f"${symbol}$" for symbol in "<>|"},
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "→": r"$\to$",
    "·": r"$\cdot$",
}

BETWEEN = "\n\\medskip\n\n"
"""Between the tabulars of one float."""

LINE_WIDTH = 92
"""Characters that fit on a line of a table."""

PAGE_LINES = 48
"""Rows that fit on a page."""


def render(sections: Iterable[Section]) -> str:
    """Leading sentences and every table of the main level as one document; other text without a table is left out."""
    blocks = []
    for section in sections:
        if section.detail > Detail.MAIN:
            continue
        if section.lead:
            blocks.append(itemize(section))
        problems: Sequence[str] = shorten_problems(section.problems)
        for table in section.tables_of(Detail.MAIN):
            if table.rows and table.columns:
                blocks += table_floats(table, section, problems=problems)
                problems = ()
    return PREAMBLE + "\n".join(blocks or ["No run has finished.\n"]) + "\\end{document}\n"


def itemize(section: Section) -> str:
    """The leading sentences of a section as a list."""
    items = "".join(f"\\item {escape(text)}\n" for text in section.lead)
    return f"\\section*{{{escape(section.title)}}}\n\\begin{{itemize}}\n{items}\\end{{itemize}}\n"


def table_floats(table: Table, section: Section, *, problems: Sequence[str]) -> Iterator[str]:
    """A table as floats on pages of their own.

    Columns that do not fit side by side stand below each other. A table without caption or notes has those of its
    section, so that it can be read alone.
    """
    parts = fit_columns(column_widths(table), LINE_WIDTH - sum(name_widths(table)) - 2 * len(table.names), gap=2)
    # Groups of rows stay together.
    groups = [list(group) for _, group in groupby(table.rows, key=lambda row: row.group)]
    chunks: list[list[Row]] = [[]]
    for group in groups:
        if chunks[-1] and len(chunks[-1]) + len(group) > PAGE_LINES:
            chunks.append([])
        chunks[-1] += group
    tabulars = [(tabular(table, indices, rows), len(rows)) for indices in parts for rows in chunks]
    pages: list[list[str]] = [[]]
    lines = 0
    for text, length in tabulars:
        if pages[-1] and lines + length > PAGE_LINES:
            pages.append([])
            lines = 0
        pages[-1].append(text)
        lines += length
    small_print = [*(table.notes or section.notes), *(f"{problem}." for problem in problems)]
    label = "tab:" + "".join(c for c in table.name if c.isascii() and (c.isalnum() or c in "-."))
    for number, page in enumerate(pages, start=1):
        which = f" ({number}/{len(pages)})" if len(pages) > 1 else ""
        text = table.caption or section.text or section.title
        words = [f"{table.title}{which}." if table.title or which else "", text]
        caption = " ".join(filter(None, words if number == 1 else words[:1])).strip()
        below = "".join(f"\\par {escape(text)}\n" for text in small_print)
        yield (
            f"\\begin{{table}}[p]\n\\centering\\small\n\\caption{{{escape(caption)}}}\n"
            f"\\label{{{label}{f'-{number}' if number > 1 else ''}}}\n\\par\\smallskip\n{BETWEEN.join(page)}"
            f"\\par\\medskip\n\\raggedright\\footnotesize\n{below}\\end{{table}}\n\\clearpage\n"
        )


def tabular(table: Table, indices: Sequence[int], rows: Sequence[Row]) -> str:
    """Some columns and rows of a table."""
    columns = [table.columns[index] for index in indices]
    kinds = "l" * len(table.names) + "".join("r" if column.is_number else "l" for column in columns)
    text = [f"\\begin{{tabular}}{{{kinds}}}", "\\toprule", *header(table.names, columns)]
    for _, group in groupby(rows, key=lambda row: row.group):
        text.append("\\midrule")
        text += [line([*map(escape, row.header), *(cell_text(row.cells[index]) for index in indices)]) for row in group]
    return "\n".join([*text, "\\bottomrule", "\\end{tabular}", ""])


def header(names: Sequence[str], columns: Sequence[Column]) -> Iterator[str]:
    """Groups above the names of their columns, and what is said about these below."""
    blank = [""] * len(names)
    if any(column.group for column in columns):
        spans = [(group, len(list(same))) for group, same in groupby(columns, key=lambda column: column.group)]
        yield line([*blank, *(f"\\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" for group, width in spans)])
        rules, first = [], len(names) + 1
        for _, width in spans:
            rules.append(f"\\cmidrule(lr){{{first}-{first + width - 1}}}")
            first += width
        yield " ".join(rules)
    yield line([*map(escape, names), *(escape(column.name) for column in columns)])
    for index in range(max(len(column.about) for column in columns)):
        yield line([*blank, *(escape(column.about[index] if column.about else "") for column in columns)])


def line(cells: Sequence[str]) -> str:
    """One line of a tabular."""
    return " & ".join(cells) + r" \\"


def cell_text(cell: Cell | None) -> str:
    """A cell, the best in bold, its marks raised and without width."""
    if cell is None:
        return escape(MISSING)
    text = escape(" ".join(filter(None, (cell.value, cell.seeds))))
    marks = f"\\rlap{{$^{{{escape(cell.marks).replace('$', '')}}}$}}" if cell.marks else ""
    return (f"\\textbf{{\\boldmath {text}}}" if cell.is_best else text) + marks


def escape(text: str) -> str:
    """Text in which nothing has a meaning to LaTeX; accents are dropped, letters beyond ASCII become question marks."""
    return "".join(
        ESCAPED.get(letter) or unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
        for letter in text
    )
