"""The tables of sections as a LaTeX document that compiles; with the docmute package a paper can input it."""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

from results.report.section import MISSING, Detail, column_widths, fit_columns, name_widths, shorten_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from results.report.section import Cell, Row, Section, Table

PREAMBLE = r"""% A whole document. To show its tables in a paper, load booktabs, longtable, siunitx and docmute
% there, and \input this file.
\documentclass[10pt]{article}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs,longtable,siunitx}
\sisetup{detect-weight}
\setlength{\LTcapwidth}{\textwidth}
\setlength{\emergencystretch}{3em}
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

LINE_WIDTH = 92
"""Characters that fit on a line of a table."""

PAGE_LINES = 60
"""Lines that fit on a page; a table with more is broken over pages."""

PROSE_WIDTH = 110
"""Characters of a line of a caption or note."""

UNBROKEN_ROWS = 20
"""Rows of a group up to which no page ends within it."""

NUMBER = re.compile(r"([+−-]?)(\d+)(?:\.(\d+))?(?![\d.])")
"""What a cell of a column of numbers begins with: sign, digits before and after the point."""


def render(sections: Iterable[Section]) -> str:
    """Leading sentences and every table of the main level as one document; other text without a table is left out."""
    blocks = []
    for section in sections:
        if section.detail > Detail.MAIN:
            continue
        if section.lead:
            blocks.append(itemize(section))
        problems: Sequence[str] = shorten_problems(section.problems)
        tables = [table for table in section.tables_of(Detail.MAIN) if table.rows and table.columns]
        for table in tables:
            blocks += table_blocks(table, section, problems=problems)
            problems = ()
        blocks += ["\\clearpage\n"] * bool(tables)
    return PREAMBLE + "\n".join(blocks or ["No run has finished.\n"]) + "\\end{document}\n"


def itemize(section: Section) -> str:
    """The leading sentences of a section as a list."""
    items = "".join(f"\\item {escape(text)}\n" for text in section.lead)
    return f"\\section*{{{escape(section.title)}}}\n\\begin{{itemize}}\n{items}\\end{{itemize}}\n"


def table_blocks(table: Table, section: Section, *, problems: Sequence[str]) -> Iterator[str]:
    """A table as a float, or, if that would overflow, as ``longtable`` over several pages.

    Columns that do not fit side by side stand below each other. A table without caption or notes has those of its
    section, so that it can be read alone.
    """
    parts = fit_columns(column_widths(table), LINE_WIDTH - sum(name_widths(table)) - 2 * len(table.names), gap=2)
    small_print = [*(table.notes or section.notes), *(f"{problem}." for problem in problems)]
    below = "\\raggedright\\footnotesize\n" + "".join(f"\\par {escape(text)}\n" for text in small_print)
    label = "tab:" + "".join(c for c in table.name if c.isascii() and (c.isalnum() or c in "-."))
    text = table.caption or section.text or section.title
    title = escape(f"{table.title}. " * bool(table.title))
    prose = sum(math.ceil(len(words) / PROSE_WIDTH) for words in (title + text, *small_print))
    groups = len({row.group for row in table.rows})
    names_height = 3 + max(len(column.lines) for column in table.columns)
    if prose + len(parts) * (names_height + len(table.rows) + 0.6 * groups) <= PAGE_LINES:
        tabulars = []
        for indices in parts:
            lines = [f"\\begin{{tabular}}{{{column_types(table, indices)}}}", "\\toprule", *header(table, indices)]
            for _, group in groupby(table.rows, key=lambda row: row.group):
                lines += ["\\midrule", *(f"{row_text(row, indices)} \\\\" for row in group)]
            tabulars.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""]))
        yield (
            f"\\begin{{table}}[htbp]\n\\centering\\small\n\\caption{{{title}{escape(text)}}}\n\\label{{{label}}}\n"
            "\\par\\smallskip\n" + "\n\\medskip\n\n".join(tabulars) + f"\\par\\medskip\n{below}\\end{{table}}\n"
        )
        return
    for number, indices in enumerate(parts, start=1):
        which = f"({number}/{len(parts)}) " * (len(parts) > 1)
        caption = f"{title}{which}" + escape(text) * (number == 1)
        names = "\n".join(["\\toprule", *header(table, indices)])
        lines = []
        for _, same in groupby(table.rows, key=lambda row: row.group):
            rows = [row_text(row, indices) for row in same]
            stays = len(rows) <= UNBROKEN_ROWS
            lines.append("\\addlinespace" if lines else "\\midrule")
            lines += [*(f"{row} \\\\" + "*" * stays for row in rows[:-1]), f"{rows[-1]} \\\\"]
        yield (
            f"\\begingroup\\small\n\\begin{{longtable}}{{{column_types(table, indices)}}}\n"
            f"\\caption{{{caption}}}\\label{{{label}{f'-{number}' * (number > 1)}}}\\\\\n{names}\n\\endfirsthead\n"
            f"{names}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"
            + "\n".join([*lines, "\\end{longtable}", below * (number == len(parts)) + "\\par\\endgroup", ""])
        )


def column_types(table: Table, indices: Sequence[int]) -> str:
    """How the columns of a tabular are aligned: numbers at their points, whatever stands behind them."""
    types = ["l"] * len(table.names)
    for index in indices:
        cells = [cell for row in table.rows if (cell := row.cells[index]) is not None]
        numbers = [number for cell in cells if (number := NUMBER.match(cell.value))]
        if not table.columns[index].is_number or not numbers:
            types.append("r" if table.columns[index].is_number else "l")
            continue
        sign = "+" * any(number[1] for number in numbers)
        before, after = max(len(number[2]) for number in numbers), max(len(number[3] or "") for number in numbers)
        rest = max((text_after_number(cell) for cell in cells if NUMBER.match(cell.value)), key=len)
        types.append(f"S[table-format={sign}{before}.{after},table-space-text-post={{{rest}}}]")
    return "".join(types)


def row_text(row: Row, indices: Sequence[int]) -> str:
    """The cells of a row without its end; the best in bold, numbers bare and texts in braces, as siunitx wants it."""
    cells = [*map(escape, row.header)]
    for cell in (row.cells[index] for index in indices):
        if cell is None:
            cells.append(f"{{{escape(MISSING)}}}")
            continue
        number = NUMBER.match(cell.value)
        text = f"{number[0].replace('−', '-')} " if number else ""
        if rest := text_after_number(cell):
            text += "{" + "\\boldmath " * cell.is_best + rest + "}"
        cells.append("\\bfseries " * cell.is_best + text)
    return " & ".join(cells)


def text_after_number(cell: Cell) -> str:
    """What follows the number that a cell begins with, or all of it; marks are raised."""
    number = NUMBER.match(cell.value)
    words = [cell.value[number.end() :].strip() if number else cell.value, cell.seeds]
    text = " ".join(escape(word) for word in words if word)
    marks = f"$^{{{escape(cell.marks).replace('$', '')}}}$" if cell.marks else ""
    return "~" * bool(number and text) + text + marks


def header(table: Table, indices: Sequence[int]) -> Iterator[str]:
    """Groups above the names of their columns, and what is said about these below."""
    columns = [table.columns[index] for index in indices]
    blank = [""] * len(table.names)

    def line(texts: Iterable[str]) -> str:
        return " & ".join([*texts]) + r" \\"

    if any(column.group for column in columns):
        spans = [(group, len(list(same))) for group, same in groupby(columns, key=lambda column: column.group)]
        yield line([*blank, *(f"\\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" for group, width in spans)])
        rules, first = [], len(blank) + 1
        for _, width in spans:
            rules.append(f"\\cmidrule(lr){{{first}-{first + width - 1}}}")
            first += width
        yield " ".join(rules)
    yield line([*map(escape, table.names), *(f"{{{escape(column.name)}}}" for column in columns)])
    for index in range(max(len(column.about) for column in columns)):
        yield line([*blank, *(f"{{{escape(column.about[index] if column.about else '')}}}" for column in columns)])


def escape(text: str) -> str:
    """Text in which nothing has a meaning to LaTeX; accents are dropped, letters beyond ASCII become question marks."""
    return "".join(
        ESCAPED.get(letter) or unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
        for letter in text
    )
