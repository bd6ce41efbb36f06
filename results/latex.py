"""Tables as a LaTeX document that compiles as it is; with the docmute package a paper can input it."""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

from results.notes import PAIRED_CAPTION, shortened
from results.tables import MISSING, fitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.tables import Cell, Column, Row, Table

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
    "→": r"$\to$",
    "·": r"$\cdot$",
}

PAGE = 92
"""Characters that fit on a line of a table."""


def document(tables: Sequence[Table]) -> str:
    """Every table that has rows, as one document."""
    floats = [text for table in tables if table.rows for text in table_floats(table)]
    return PREAMBLE + "\n".join(floats or ["No run has finished.\n"]) + "\\end{document}\n"


def table_floats(table: Table) -> Iterator[str]:
    """The table, and its differences."""
    label = "".join(c for c in table.name if c.isalnum() or c in "-.")
    below = [*table.notes, *(f"{problem}." for problem in shortened(table.problems))]
    yield table_float(table.columns, table.rows, table.caption, f"tab:{label}", below)
    if table.paired:
        yield table_float(table.columns, table.paired, PAIRED_CAPTION, f"tab:{label}-differences", ())


def table_float(columns: Sequence[Column], rows: Sequence[Row], caption: str, label: str, below: Sequence[str]) -> str:
    """One float, with columns that do not fit below the others, and lines of small print at the end."""
    cells = [[cell.text for row in rows if (cell := row.cells[place])] for place in range(len(columns))]
    widths = [max(map(len, [*texts, column.measure])) for texts, column in zip(cells, columns, strict=True)]
    parts = fitting(widths, PAGE - max(len(row.method) for row in rows))
    grids = "\n\\medskip\n\n".join(grid(columns, rows, slice(part[0], part[-1] + 1)) for part in parts)
    small_print = "".join(f"\\par {escape(text)}\n" for text in below)
    return (
        f"\\begin{{table}}[p]\n\\centering\\small\n\\caption{{{escape(caption)}}}\n\\label{{{label}}}\n\\par\\smallskip\n{grids}"
        f"\\par\\medskip\n\\raggedright\\footnotesize\n{small_print}\\end{{table}}\n\\clearpage\n"
    )


def grid(columns: Sequence[Column], rows: Sequence[Row], part: slice) -> str:
    """A part of the columns as a tabular."""
    lines = [f"\\begin{{tabular}}{{l{'r' * len(columns[part])}}}", "\\toprule", *header(columns[part]), "\\midrule"]
    for anchor, group in groupby(rows, key=lambda row: row.anchor):
        lines += ["\\midrule"] * (lines[-1] != "\\midrule")
        lines += [line([escape(row.method), *map(cell_text, row.cells[part])]) for row in group]
        del anchor
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def header(columns: Sequence[Column]) -> Iterator[str]:
    """Data sets above their evaluations."""
    spans = [(data, len(list(group))) for data, group in groupby(columns, key=lambda column: column.data)]
    yield line(["", *(f"\\multicolumn{{{width}}}{{c}}{{{escape(data)}}}" for data, width in spans)])
    ends = [1]
    for _, width in spans:
        ends.append(ends[-1] + width)
    yield " ".join(f"\\cmidrule(lr){{{ends[i] + 1}-{ends[i + 1]}}}" for i in range(len(spans)))
    yield line(["method", *(escape(column.measure) for column in columns)])


def line(cells: Sequence[str]) -> str:
    """One line of a tabular."""
    return " & ".join(cells) + r" \\"


def cell_text(cell: Cell | None) -> str:
    """A cell, the best in bold."""
    if cell is None:
        return escape(MISSING)
    text = escape(f"{cell.number} {cell.seeds}")
    marks = f"\\rlap{{$^{{{escape(cell.marks).replace('$', '')}}}$}}" if cell.marks else ""
    return (f"\\textbf{{\\boldmath {text}}}" if cell.best else text) + marks


def escape(text: str) -> str:
    """Text in which nothing has a meaning to LaTeX; letters become those of ASCII, or a question mark."""
    return "".join(ESCAPED.get(letter) or plain(letter) for letter in text)


def plain(letter: str) -> str:
    """A letter without its accents."""
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
