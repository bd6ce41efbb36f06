"""Tables as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results import costs, refinement
from results.notes import PAIRED_CAPTION, PROBLEMS_TITLE, UNPLACED_TITLE
from results.papers import CAPTION, TITLE
from results.tables import MISSING, by_section

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from results.papers import Papers, PaperTable
    from results.refinement import RefinementTable
    from results.tables import Column, Row, Table


def document(
    tables: Sequence[Table],
    refinements: Sequence[RefinementTable],
    summary: pd.DataFrame,
    unplaced: Sequence[str],
    papers: Papers | None,
) -> str:
    """The whole report.

    Args:
        tables: of the report.
        refinements: see ``results.refinement``.
        summary: what ``results.statistics.summarize`` made of the runs.
        unplaced: problems that belong to no table.
        papers: published beside measured; None leaves them out.
    """
    cells = by_section(summary)
    blocks = [block for table in tables for block in blocks_of(table, cells.get(table.section))]
    if refinements:
        blocks += [f"## {refinement.TITLE}", refinement.CAPTION, bullets(refinement.NOTES)]
        blocks += [block for table in refinements for block in refinement_blocks(table)]
    if unplaced:
        blocks += [f"## {UNPLACED_TITLE}", bullets(unplaced)]
    if papers is not None:
        blocks += [f"## {TITLE}", CAPTION, bullets(papers.notes)]
        blocks += [block for table in papers.tables for block in paper_blocks(table)]
    return "\n\n".join(blocks) + "\n"


def blocks_of(table: Table, cells: pd.DataFrame | None) -> list[str]:
    """One table with its caption, notes and problems, and what its ``cells`` cost."""
    blocks = [f"## {table.title}", table.caption]
    if table.rows:
        blocks.append(grid(table.columns, table.rows))
    if table.notes:
        blocks.append(bullets(table.notes))
    if table.paired:
        blocks += [PAIRED_CAPTION, grid(table.columns, table.paired)]
    if table.problems:
        blocks += [PROBLEMS_TITLE, bullets(table.problems)]
    if cells is not None:
        lines = costs.lines_of(cells, [row.method for row in table.rows])
        blocks += [costs.CAPTION, plain_grid(costs.HEADER, lines, rule(2, 6, 1))]
    return blocks


def refinement_blocks(table: RefinementTable) -> list[str]:
    """One evaluation as it is and refined, and what lies between the refinements."""
    blocks = [f"### {table.title}", plain_grid(table.header, table.lines, rule(1, len(table.header) - 1))]
    if table.between:
        header, *lines = table.between
        blocks += [f"{refinement.BETWEEN}:", plain_grid(header, lines, rule(1, len(header) - 1))]
    return blocks


def paper_blocks(table: PaperTable) -> list[str]:
    """One published table with its notes."""
    header = [" ".join((f"**{c.name}**", c.data, c.measure)).strip() for c in table.columns]
    lines = [[name, line.kind, *line.texts] for row in table.rows for name, line in row.named]
    grid = plain_grid(["", "", *header], lines, rule(2, len(header)))
    return [f"### {table.title}", grid, bullets(table.notes)]


def grid(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The rows as a table, the best in bold."""
    lines = [line(["method", *(f"{column.data} {column.measure}" for column in columns)]), rule(1, len(columns))]
    for row in rows:
        cells = [MISSING if c is None else f"**{c.text}**" if c.best else c.text for c in row.cells]
        lines.append(line([row.method, *cells]))
    return "\n".join(lines)


def plain_grid(header: Sequence[str], lines: Sequence[Sequence[str]], below: str) -> str:
    """Lines of text as a table; ``below`` is the line below the header."""
    return "\n".join([line(header), below, *map(line, lines)])


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rule(words: int, numbers: int, more_words: int = 0) -> str:
    """The line below the header: so many columns of words, of numbers, and of words again."""
    return line(["---"] * words + ["---:"] * numbers + ["---"] * more_words)


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {text}" for text in lines)
