"""The tables of papers, in their own rows and columns, each cell with our number or the reason why there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from results.analysis.comparison import (
    COMPARISON_COLUMNS,
    MARGIN,
    NOT_COMPARABLE,
    OVER,
    is_untrained,
    reference_name,
)
from results.analysis.published_tables import count_agreement, without_repetitions
from results.analysis.tables import dataset_name, half_width_of, records
from results.report.section import MISSING, Cell, Column, Figure, Row, Section, Table
from results.report.sections import register_section
from results.report.text import format_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from results.analysis.published_tables import Comparison, PublishedTable
    from results.report.data import ReportData

TEXT = (
    "Accuracy in percent. Published: mean ± standard deviation. Ours: mean ± half-width of the 95 % interval (seeds); "
    "where several of ours correspond, that with the fewest differences in conditions, then the longest trained. "
    "Difference: ours − published in points, where the conditions agree ± half-width of its 95 % interval, with the "
    f"uncertainty of both, and in brackets the margin: {MARGIN:.0%} of the published accuracy, or of its error if that "
    "is less. Agrees: the interval lies within ± the margin. Differs: it does not, and excludes 0. Cannot tell: else."
)
UNPUBLISHED = "not published"
SECONDARY = "‡"
"""Mark of a published number that was not found at its source."""


@register_section(position=40)
def published(data: ReportData) -> Iterator[Section]:
    """One section, a table for each published one that something was run of; nothing if not asked for."""
    comparison = data.comparison
    if comparison is None:
        return
    tables = []
    for table in comparison.tables:
        rows = [str(row) for row in table.cells["row"].unique()]
        figures = data.figures_of(table.name, table.title, rows)
        tables.append(published_table(table, figures))
    yield Section(
        name="published",
        title="Published beside measured",
        text=TEXT,
        notes=tuple(notes_of(comparison)),
        tables=tuple(tables),
        frames={"published": comparison.pairs[COMPARISON_COLUMNS]},
    )


def notes_of(comparison: Comparison) -> Iterator[str]:
    """How many numbers of each source agree, and which tables are not shown."""
    papers = {table.source for table in comparison.tables}
    cells = comparison.pairs.drop_duplicates("number")
    for source, of_source in cells.groupby("source", sort=False):
        if source in papers:
            yield f"{source!s}. {describe_agreement(without_repetitions(of_source))}"
    omitted = dict.fromkeys(
        f"{source}, {table}" if source in papers else source for source, table in comparison.omitted
    )
    if omitted:
        yield f"Nothing was run of {'; '.join(omitted)}. published.csv holds their numbers."


def describe_agreement(cells: pd.DataFrame) -> str:
    """How many numbers agree, in words."""
    count = count_agreement(cells)
    methods = "trained method" if count.trained == 1 else "trained methods"
    text = (
        f"Numbers: {count.published} published, {count.measured} measured here. "
        f"{count.trained} {methods} under the same conditions so far"
    )
    if count.trained:
        text += f"; agrees: {count.agree}, differs: {count.differ}, cannot tell: {count.undecided}"
    return f"{text}."


def published_table(table: PublishedTable, figures: tuple[Figure, ...]) -> Table:
    """One published table: for each of its rows a line of published numbers, of ours, of differences and verdicts."""
    columns = [str(name) for name in table.cells["column"].unique()]
    reasons: dict[str, int] = {}
    rows = [
        Row((str(name) if index == 0 else "", kind), tuple(map(Cell, texts)), group=str(name))
        for name, of_row in table.cells.groupby("row", sort=False)
        for index, (kind, texts) in enumerate(
            lines_of({cell["column"]: cell for cell in records(of_row)}, columns, reasons)
        )
    ]
    notes = [describe_agreement(table.cells)]
    references = dict.fromkeys(reference_name(m.partition(OVER)[2]) for m in table.cells["metric"] if OVER in m)
    if references:
        notes.append(f"Gains in points over {', '.join(references)}; ours paired over seeds.")
    notes += [f"{SECONDARY} secondary: {found}." for found in table.cells["secondary"].unique() if found]
    notes += [f"[{number}] {reason}" for reason, number in reasons.items()]
    return Table(
        name=table.name,
        names=("", ""),
        columns=tuple(column_of_paper(name, table.cells[table.cells["column"] == name]) for name in columns),
        rows=tuple(rows),
        title=table.title,
        notes=tuple(notes),
        figures=figures,
    )


def column_of_paper(name: str, cells: pd.DataFrame) -> Column:
    """A column and what corresponds to it here: data sets, backbone and evaluation; nothing if its cells differ."""
    trained = cells[~cells["name"].map(is_untrained)]
    here = trained[["their_dataset", "evaluated_on", "backbone", "their_evaluation"]].drop_duplicates()
    if len(here) != 1:
        return Column(name)
    dataset, evaluated_on, backbone, evaluation = here.iloc[0]
    return Column(name, about=(dataset_name(dataset, evaluated_on), f"{backbone} {evaluation}".strip()))


def lines_of(
    cells: dict[str, dict[str, Any]], columns: Sequence[str], reasons: dict[str, int]
) -> Iterator[tuple[str, list[str]]]:
    """The lines of one row, each with what it holds.

    Args:
        cells: of the row, by column.
        columns: of the table.
        reasons: those of earlier rows with their numbers; new ones are added.
    """
    row = [cells.get(column) for column in columns]
    measured = [cell if cell is not None and not math.isnan(cell["mean"]) else None for cell in row]
    yield "published", [published_text(cell) for cell in row]
    if any(cell is not None for cell in measured):
        yield "ours", [measured_text(cell) for cell in measured]
        yield "difference", [difference_text(cell) for cell in measured]
    yield "verdict", [UNPUBLISHED if cell is None else verdict_text(cell["verdict"], reasons) for cell in row]


def published_text(cell: dict[str, Any] | None) -> str:
    """``61.03 ± 0.23``, as far as it is known; marked where it was not found at its source."""
    if cell is None:
        return MISSING
    deviation = cell["published_std"]
    mark = f" {SECONDARY}" if cell["secondary"] else ""
    return format_number(cell["published"], None if math.isnan(deviation) else deviation) + mark


def measured_text(cell: dict[str, Any] | None) -> str:
    """``61.21 ± 0.57 (3)``."""
    return MISSING if cell is None else f"{format_number(cell['mean'], half_width_of(cell))} ({int(cell['n'])})"


def difference_text(cell: dict[str, Any] | None) -> str:
    """``−0.34 ± 0.77 (1.98)``, the difference alone where it can't be judged."""
    if cell is None:
        return MISSING
    if math.isnan(cell["half"]) or cell["verdict"].startswith(NOT_COMPARABLE):
        return format_number(cell["difference"], signed=True)
    return f"{format_number(cell['difference'], cell['half'], signed=True)} ({cell['margin']:.2f})"


def verdict_text(verdict: str, reasons: dict[str, int]) -> str:
    """A verdict, its reason replaced by a number."""
    word, _, reason = verdict.partition(": ")
    return f"{word} [{reasons.setdefault(reason, len(reasons) + 1)}]" if reason else word
