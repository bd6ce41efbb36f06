"""The report as one self-contained web page: no script, nothing from the network, figures inside."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from results import costs, provenance, refinement
from results.frame import LEARNING, SEEDS, first_seeds
from results.notes import PAIRED_CAPTION, PROBLEMS_TITLE, UNPLACED_TITLE
from results.papers import CAPTION, TITLE
from results.style import CSS
from results.tables import MISSING, PLACE, by_section, column_of, records

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from results.frame import Frames
    from results.papers import PaperRow, Papers, PaperTable
    from results.refinement import RefinementTable
    from results.tables import Column, Row, Table


NO_FIGURES = "Figures are drawn for the largest tables only; this one has none."
PROVENANCE_TITLE = "Where the numbers come from"


def document(
    *,
    frames: Frames,
    summary: pd.DataFrame,
    tables: Sequence[Table],
    refinements: Sequence[RefinementTable],
    unplaced: Sequence[str],
    papers: Papers | None,
    figures: Mapping[str, Sequence[str]],
) -> str:
    """The whole page.

    Args:
        frames: all runs.
        summary: what ``results.statistics.summarize`` made of them.
        tables: of the report.
        refinements: see ``results.refinement``.
        unplaced: problems that belong to no table.
        papers: published beside measured; None leaves them out.
        figures: by the name of a table, its figures as elements ready to stand in a page.
    """
    cells, trials, runs = by_section(summary), by_section(frames.results), by_section(frames.runs)
    parts = [
        table_section(t, cells.get(t.section), trials.get(t.section), runs[t.section], figures.get(t.name, ()))
        for t in tables
    ]
    if refinements:
        parts.append(section("refinement", refinement.TITLE, refinement_part(refinements)))
    if unplaced:
        parts.append(section("unreadable", UNPLACED_TITLE, items(unplaced)))
    if papers is not None:
        parts.append(section("published", TITLE, papers_part(papers, figures)))
    parts.append(section("provenance", PROVENANCE_TITLE, provenance_part(frames)))
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        f'content="light dark">\n<title>bench report</title>\n<style>{CSS}</style>\n</head>\n<body>\n'
        '<a class="skip" href="#main">Skip to the tables</a>\n<header><h1>bench report</h1>\n'
        f"<p>{escape(provenance.headline(frames))}</p>\n{contents(tables, refinements, papers)}</header>\n"
        f'<main id="main">\n{body}\n</main>\n</body>\n</html>\n'
    )


def contents(tables: Sequence[Table], refinements: Sequence[RefinementTable], papers: Papers | None) -> str:
    """Links to the sections."""
    links = [(anchor_of(table), table.title) for table in tables]
    links += [("refinement", refinement.TITLE)] * bool(refinements)
    links += [("published", TITLE)] * (papers is not None)
    links.append(("provenance", PROVENANCE_TITLE))
    inner = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links)
    return f'<nav aria-label="Contents"><ul>{inner}</ul></nav>\n'


def anchor_of(table: Table | PaperTable) -> str:
    """An identifier for a table's section."""
    return f"table-{table.name}"


def table_section(
    table: Table, cells: pd.DataFrame | None, trials: pd.DataFrame | None, runs: pd.DataFrame, figures: Sequence[str]
) -> str:
    """One table, and all that belongs to it.

    Args:
        table: to show.
        cells: its rows of the summary; None if nothing was measured, and likewise ``trials``.
        trials: its results.
        runs: its runs.
        figures: its figures.
    """
    parts = [grid(table.caption, table.columns, table.rows)] if table.rows else [paragraph(table.caption)]
    parts.append(items(table.notes, "notes"))
    if table.paired:
        parts.append(grid(PAIRED_CAPTION, table.columns, table.paired))
    if table.problems:
        parts += [paragraph(PROBLEMS_TITLE), items(table.problems)]
    if cells is not None and trials is not None:
        parts += figures or [paragraph(NO_FIGURES)]
        parts.append(
            details(
                "Cost",
                lines_table(
                    costs.CAPTION, costs.HEADER, costs.lines_of(cells, [row.method for row in table.rows]), range(2, 8)
                ),
            )
        )
        parts.append(details("Single seeds", seeds_table(table, trials)))
        parts.append(details("Learning", learning_table(runs)))
    return section(anchor_of(table), table.title, "\n".join(part for part in parts if part))


def refinement_part(tables: Sequence[RefinementTable]) -> str:
    """Every evaluation as it is and refined, with the pictures there are."""
    parts = [paragraph(refinement.CAPTION), items(refinement.NOTES, "notes")]
    for table in tables:
        parts.append(lines_table(table.title, table.header, table.lines, range(1, len(table.header))))
        if table.between:
            header, *lines = table.between
            parts.append(lines_table(f"{table.title}: {refinement.BETWEEN}", header, lines, range(1, len(header))))
        parts += [picture(path, caption) for caption, path in table.pictures if path.is_file()]
    return "\n".join(parts)


def picture(path: Path, caption: str) -> str:
    """A PNG with its caption, within the page."""
    data = b64encode(path.read_bytes()).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def papers_part(papers: Papers, figures: Mapping[str, Sequence[str]]) -> str:
    """Published beside measured: a table each, with its figure if it has one."""
    parts = [paragraph(CAPTION), items(papers.notes, "notes")]
    for table in papers.tables:
        parts += [paper_grid(table), items(table.notes, "notes"), *figures.get(table.name, ())]
    return "\n".join(parts)


def paper_grid(table: PaperTable) -> str:
    """One published table, a body for each of its rows."""
    names = "".join(f'<th scope="col" class="number">{escape(column.name)}</th>' for column in table.columns)
    places = "".join(
        f'<td class="number place">{escape(column.data)}<br>{escape(column.measure)}</td>' for column in table.columns
    )
    head = f'<tr><th scope="col" colspan="2">as published</th>{names}</tr>\n<tr><td colspan="2"></td>{places}</tr>'
    return framed(table.title, head, "\n".join(map(paper_body, table.rows)))


def paper_body(row: PaperRow) -> str:
    """One row of a published table."""
    lines = [
        f'<th scope="row">{line.kind}</th>' + "".join(f'<td class="number">{escape(t)}</td>' for t in line.texts)
        for line in row.lines
    ]
    name = f'<th scope="rowgroup" rowspan="{len(lines)}">{escape(row.method)}</th>'
    return "<tbody>\n" + "".join(f"<tr>{text}</tr>\n" for text in [name + lines[0], *lines[1:]]) + "</tbody>"


def grid(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Rows as an HTML table, data sets above their evaluations, anchors and methods in bodies of their own."""
    spans = [(data, len(list(group))) for data, group in groupby(columns, key=lambda column: column.data)]
    over = "".join(f'<th scope="colgroup" colspan="{width}">{escape(data)}</th>' for data, width in spans)
    below = "".join(f'<th scope="col" class="number">{escape(column.measure)}</th>' for column in columns)
    head = f'<tr><th scope="col" rowspan="2">method</th>{over}</tr>\n<tr>{below}</tr>'
    bodies = [
        "<tbody>\n" + "".join(f"{grid_row(row)}\n" for row in group) + "</tbody>"
        for _, group in groupby(rows, key=lambda row: row.anchor)
    ]
    return framed(caption, head, "\n".join(bodies))


def grid_row(row: Row) -> str:
    """One method."""
    texts = [MISSING if c is None else f"<strong>{c.text}</strong>" if c.best else c.text for c in row.cells]
    cells = "".join(f'<td class="number">{text}</td>' for text in texts)
    return f'<tr><th scope="row">{escape(row.method)}</th>{cells}</tr>'


def lines_table(caption: str, header: Sequence[str], lines: Sequence[Sequence[str]], numbers: Container[int]) -> str:
    """Lines of text as an HTML table; the first cell names its row.

    Args:
        caption: of the table.
        header: names of the columns.
        lines: the cells.
        numbers: which columns hold numbers.
    """
    kinds = [' class="number"' if place in numbers else "" for place in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    rows = []
    for first, *rest in lines:
        cells = "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(rest, kinds[1:], strict=True))
        rows.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>\n')
    return framed(caption, f"<tr>{head}</tr>", f"<tbody>\n{''.join(rows)}</tbody>")


def framed(caption: str, head: str, bodies: str) -> str:
    """A table that scrolls by itself where it is too wide."""
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="table">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead>\n{head}\n</thead>\n{bodies}\n</table>\n</div>"
    )


def seeds_table(table: Table, results: pd.DataFrame) -> str:
    """The value of every seed, below the accuracy figure's dots."""
    values: dict[tuple[str, Column], list[str]] = {}
    for row in records(results[["method", *PLACE, "seed", "value"]].sort_values("seed")):
        values.setdefault((row["method"], column_of(row)), []).append(f"{row['seed']}: {row['value']:.2f}")
    lines = [
        [row.method, f"{column.data} {column.measure}", ", ".join(values[row.method, column])]
        for row in table.rows
        for column in table.columns
        if (row.method, column) in values
    ]
    return lines_table("Accuracy in percent of every seed.", ("method", "measured on", "seed: value"), lines, ())


def learning_table(runs: pd.DataFrame) -> str:
    """Where the loss of the drawn runs began and ended."""
    trained = first_seeds(runs[runs["epochs"] > 0])
    lines = [
        (
            row["method"],
            row["dataset"],
            f"{row['seed']:.0f}",
            f"{row['epochs']:.0f}",
            f"{row['first_loss']:.4g}",
            f"{row['last_loss']:.4g}",
            costs.scaled(row["views"]),
            costs.duration(row["pretrain_seconds"]),
            row["run"],
        )
        for row in records(trained[["method", "dataset", "seed", *LEARNING, "views", "pretrain_seconds", "run"]])
    ]
    header = ("method", "data", "seed", "epochs", "loss, first epoch", "last", "views", "time", "run")
    return lines_table(f"Mean loss of the first and the last epoch, {SEEDS} seeds at most.", header, lines, range(2, 8))


def provenance_part(frames: Frames) -> str:
    """Origins as a description list."""
    parts = [
        f"<dt>{escape(title)}</dt>\n" + "\n".join(f"<dd>{escape(value)}</dd>" for value in values)
        for title, values in provenance.lines(frames)
        if values
    ]
    return "<dl>\n" + "\n".join(parts) + "\n</dl>"


def section(name: str, title: str, inner: str) -> str:
    """A section with its heading."""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{inner}\n</section>'


def details(title: str, inner: str) -> str:
    """What is shown on demand."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{inner}\n</details>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def items(texts: Sequence[str], kind: str = "problems") -> str:
    """A list; nothing if it is empty."""
    inner = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f'<ul class="{kind}">\n{inner}</ul>' if texts else ""


def figure(svg: str, caption: str) -> str:
    """A figure with its caption; ``svg`` as ``results.svg.inline`` makes it."""
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
