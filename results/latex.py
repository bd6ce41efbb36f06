"""Tables as a LaTeX document that compiles as it is; with the docmute package a paper can input it."""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

from results import papers as published
from results import refinement
from results.notes import PAIRED_CAPTION, shortened
from results.tables import MISSING, fitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.papers import Heading, PaperRow, Papers, PaperTable
    from results.refinement import RefinementTable
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

BELOW = "\n\\medskip\n\n"
"""Between tabulars of one float."""

PAGE = 92
"""Characters that fit on a line of a table."""

ROWS = 12
"""Of a published table that fit on a page."""


def document(tables: Sequence[Table], refinements: Sequence[RefinementTable] = (), papers: Papers | None = None) -> str:
    """Every table that has rows, those of refinements, and published ones beside what was measured, as one document."""
    floats = [text for table in tables if table.rows for text in table_floats(table)]
    floats += [refinement_float(table, f"tab:refinement-{n}") for n, table in enumerate(refinements, start=1)]
    floats += [text for table in (papers.tables if papers else ()) for text in paper_floats(table)]
    return PREAMBLE + "\n".join(floats or ["No run has finished.\n"]) + "\\end{document}\n"


def table_floats(table: Table) -> Iterator[str]:
    """The table, and its differences."""
    label = label_of(table)
    below = [*table.notes, *(f"{problem}." for problem in shortened(table.problems))]
    yield table_float(table.columns, table.rows, table.caption, label, below)
    if table.paired:
        yield table_float(table.columns, table.paired, PAIRED_CAPTION, f"{label}-differences", ())


def table_float(columns: Sequence[Column], rows: Sequence[Row], caption: str, label: str, below: Sequence[str]) -> str:
    """One float, with columns that do not fit below the others, and lines of small print at the end."""
    cells = [[cell.text for row in rows if (cell := row.cells[place])] for place in range(len(columns))]
    widths = [max(map(len, [*texts, column.measure])) for texts, column in zip(cells, columns, strict=True)]
    parts = fitting(widths, PAGE - max(len(row.method) for row in rows))
    grids = BELOW.join(grid(columns, rows, slice(part[0], part[-1] + 1)) for part in parts)
    return floated(caption, label, grids, below)


def floated(caption: str, label: str, grids: str, below: Sequence[str]) -> str:
    """One float on a page of its own, with lines of small print at the end."""
    small_print = "".join(f"\\par {escape(text)}\n" for text in below)
    return (
        f"\\begin{{table}}[p]\n\\centering\\small\n\\caption{{{escape(caption)}}}\n\\label{{{label}}}\n\\par\\smallskip\n{grids}"
        f"\\par\\medskip\n\\raggedright\\footnotesize\n{small_print}\\end{{table}}\n\\clearpage\n"
    )


def label_of(table: Table | PaperTable) -> str:
    """By which the text refers to a table."""
    return f"tab:{''.join(c for c in table.name if c.isascii() and (c.isalnum() or c in '-.'))}"


def refinement_float(table: RefinementTable, label: str) -> str:
    """One evaluation as it is and refined, above what lies between the refinements."""
    grids = text_grids(table.header, table.lines)
    if table.between:
        words = f"{{\\footnotesize {escape(refinement.BETWEEN)}\\par}}\n\\smallskip\n"
        grids += BELOW + words + text_grids(table.between[0], table.between[1:])
    return floated(f"{table.title}. {refinement.CAPTION}", label, grids, refinement.NOTES)


def text_grids(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lines of text as tabulars, the first cell of each its name; columns that do not fit stand below the others."""
    names, *columns = zip(header, *lines, strict=True)
    parts = fitting([max(map(len, column)) for column in columns], PAGE - max(map(len, names)))
    return BELOW.join(text_grid(names, [columns[place] for place in places]) for places in parts)


def text_grid(names: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """Some columns of text, beginning with their headers, as a tabular."""
    head, *rows = (line([*map(escape, texts)]) for texts in zip(names, *columns, strict=True))
    lines = [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", "\\toprule", head, "\\midrule", *rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def paper_floats(table: PaperTable) -> Iterator[str]:
    """One published table, a float for as many of its columns and rows as fit on a page."""
    parts = [
        paper_grid(table.columns[places[0] : places[-1] + 1], table.rows[first : first + ROWS], places)
        for places in fitting(table.widths, PAGE - 2 - table.names)
        for first in range(0, len(table.rows), ROWS)
    ]
    for number, part in enumerate(parts, start=1):
        which = f" ({number}/{len(parts)})" if len(parts) > 1 else ""
        caption = f"{table.title}{which}. {published.CAPTION if number == 1 else ''}"
        yield floated(caption.strip(), f"{label_of(table)}-{number}", part, table.notes)


def paper_grid(columns: Sequence[Heading], rows: Sequence[PaperRow], places: Sequence[int]) -> str:
    """Some columns and rows of a published table as a tabular."""
    names = zip(*((column.name, column.data, column.measure) for column in columns), strict=True)
    header = [line(["", "", *map(escape, words)]) for words in names if any(words)]
    text = [f"\\begin{{tabular}}{{ll{'r' * len(columns)}}}", "\\toprule", *header]
    for row in rows:
        cells = [[name, of_row.kind, *(of_row.texts[place] for place in places)] for name, of_row in row.named]
        text += ["\\midrule", *(line([*map(escape, texts)]) for texts in cells)]
    return "\n".join([*text, "\\bottomrule", "\\end{tabular}", ""])


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
