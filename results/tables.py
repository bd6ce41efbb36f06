"""The one table model that every rendering shows: rows are methods, columns are data sets and evaluations.

There is one table per protocol, version, track and backbone; protocols are never mixed in one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.notes import COLLAPSED, TIED, caption, missing_lines, notes, problem_lines
from results.statistics import ANCHORS, COLUMN, marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from results.frame import Frames

SECTION = ["protocol", "version", "track", "backbone"]
"""What the runs of one table share."""

PLACE = [key for key in COLUMN if key not in SECTION]
"""What tells the columns of one table apart."""

MISSING = "–"
RANK = {"supervised": 0, "": 1, "random": 2}


@dataclass(frozen=True)
class Column:
    """Where the numbers of a column were measured.

    Attributes:
        dataset: pretrained on.
        evaluated_on: evaluated on.
        evaluation: label of the evaluation.
        metric: name of the metric.
    """

    dataset: str
    evaluated_on: str
    evaluation: str
    metric: str

    @property
    def data(self) -> str:
        """The data set, or both."""
        return data_words(self.dataset, self.evaluated_on)

    @property
    def measure(self) -> str:
        """The evaluation, with the metric where it is not top-1 accuracy."""
        return self.evaluation if self.metric == "top1" else f"{self.evaluation} {self.metric}"


@dataclass(frozen=True)
class Cell:
    """One number of a table, in percent or percentage points.

    Attributes:
        mean: over seeds.
        half: half the width of its interval; None from one seed.
        n: seeds.
        planned: seeds that other methods of the table have on the data set.
        best: whether it is the highest of its column, anchors aside.
        tied: whether it cannot be told from the best; in a difference, from 0.
        collapsed: trials whose representation has collapsed.
        signed: whether it is a difference.
    """

    mean: float
    half: float | None
    n: int
    planned: int
    best: bool = False
    tied: bool = False
    collapsed: int = 0
    signed: bool = False

    @property
    def text(self) -> str:
        """``61.03 ± 0.57 (3) ≈``."""
        return " ".join(part for part in (self.number, self.seeds, self.marks) if part)

    @property
    def number(self) -> str:
        """``61.03 ± 0.57``."""
        mean = f"{self.mean:+.2f}" if self.signed else f"{self.mean:.2f}"
        return mean.replace("-", "−") + ("" if self.half is None else f" ± {self.half:.2f}")

    @property
    def seeds(self) -> str:
        """``(3)``, or ``(2/3)`` where some are missing."""
        return f"({self.n})" if self.n == self.planned else f"({self.n}/{self.planned})"

    @property
    def marks(self) -> str:
        """The symbols that the notes explain."""
        return TIED * self.tied + COLLAPSED * bool(self.collapsed)


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: its label.
        anchor: ``supervised``, ``random``, or empty.
        cells: one per column; None where nothing was measured.
    """

    method: str
    anchor: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """Everything measured under one protocol with one backbone.

    Attributes:
        section: protocol, version, track and backbone.
        name: safe as part of a file's name.
        title: protocol and backbone.
        caption: what the numbers are and what they were made under.
        columns: of ``rows`` and ``paired``.
        rows: supervised on top, random weights at the bottom, the others by mean; none if no run has finished.
        paired: differences to the best method of each column, over shared seeds; that method's own cell is None.
        notes: the meaning of marks, and what to keep in mind.
        problems: runs that failed, collapsed, are unfinished or missing, with reasons.
    """

    section: tuple[Any, ...]
    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    paired: tuple[Row, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def build(frames: Frames, summary: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """The tables of all runs that say which protocol and backbone they belong to.

    Args:
        frames: all runs.
        summary: what ``results.statistics.summarize`` makes of them.
        differences: what ``results.statistics.differences`` makes of them.
    """
    cells = by_section(summary.join(marks(summary)))
    paired, problems = by_section(differences), by_section(frames.problems)
    tables: list[Table] = []
    for key, runs in by_section(frames.runs).items():
        name = unique_name(f"{key[0]}-{key[3]}", [table.name for table in tables])
        tables.append(build_one(name, runs, cells.get(key), paired.get(key), problems.get(key)))
    return tables


def data_words(dataset: str, evaluated_on: str) -> str:
    """What was pretrained on and evaluated on."""
    return dataset if dataset == evaluated_on else f"{dataset} → {evaluated_on}"


def by_section(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows of each section; those that belong to none are left out."""
    return {tuple(key): rows for key, rows in frame.dropna(subset=SECTION).groupby(SECTION)}


def unique_name(text: str, taken: Sequence[str]) -> str:
    """The text made safe for the name of a file, with a number if it is taken."""
    name = re.sub(r"[^\w.@+=,-]+", "_", text).replace("_-", "-").strip("_")
    same = sum(other == name or other.startswith(f"{name}~") for other in taken)
    return f"{name}~{same + 1}" if same else name


def build_one(
    name: str,
    runs: pd.DataFrame,
    cells: pd.DataFrame | None,
    paired: pd.DataFrame | None,
    problems: pd.DataFrame | None,
) -> Table:
    """The table of one section; None stands for no rows."""
    planned = seeds_by_dataset(runs)
    columns = () if cells is None else columns_of(cells)
    rows = () if cells is None else rows_of(cells, columns, planned)
    return Table(
        section=tuple(runs[SECTION].iloc[0]),
        name=name,
        title=f"{runs['protocol'].iloc[0]} · {runs['backbone'].iloc[0]}",
        caption=caption(runs, planned),
        columns=columns,
        rows=rows,
        paired=() if paired is None else paired_rows(paired, columns, rows),
        notes=tuple(notes(rows)),
        problems=(*problem_lines(problems), *missing_lines(runs, planned)),
    )


def seeds_by_dataset(runs: pd.DataFrame) -> dict[str, list[int]]:
    """The seeds that any method was started with."""
    return {str(name): sorted(seeds.astype(int).unique()) for name, seeds in runs.groupby("dataset")["seed"]}


def columns_of(cells: pd.DataFrame) -> tuple[Column, ...]:
    """By data set; evaluations in the order in which runs name them."""
    places = cells[PLACE].drop_duplicates().sort_values(["dataset", "evaluated_on"], kind="stable")
    return tuple(map(column_of, records(places)))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as tables by column."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def column_of(values: Mapping[str, Any]) -> Column:
    """The column that a row of a summary belongs to."""
    return Column(**{key: values[key] for key in PLACE})


def rows_of(cells: pd.DataFrame, columns: Sequence[Column], planned: Mapping[str, Sequence[int]]) -> tuple[Row, ...]:
    """A row per method, in the order of the table."""
    filled: dict[tuple[str, str], dict[Column, Cell]] = {}
    for values in records(cells):
        method = (values["method"], values["method_name"] if values["method_name"] in ANCHORS else "")
        filled.setdefault(method, {})[column_of(values)] = Cell(
            mean=values["mean"],
            half=half_of(values),
            n=values["n"],
            planned=len(planned[values["dataset"]]),
            best=values["best"],
            tied=values["tied"],
            collapsed=values["collapsed"],
        )
    rows = [Row(*method, tuple(map(row.get, columns))) for method, row in filled.items()]
    level = [average([row.cells[i] for row in rows]) for i in range(len(columns))]
    return tuple(sorted(rows, key=lambda row: (RANK[row.anchor], -advantage(row, level), row.method)))


def half_of(values: Mapping[str, Any]) -> float | None:
    """Half the width of an interval; None if there is none."""
    half = (values["high"] - values["low"]) / 2
    return None if math.isnan(half) else half


def average(cells: Sequence[Cell | None]) -> float:
    """Mean of the cells that hold something."""
    means = [cell.mean for cell in cells if cell is not None]
    return sum(means) / len(means)


def advantage(row: Row, level: Sequence[float]) -> float:
    """How far a method lies above its columns' levels, on average; comparable where rows have gaps."""
    above = [cell.mean - mean for cell, mean in zip(row.cells, level, strict=True) if cell is not None]
    return sum(above) / len(above)


def paired_rows(paired: pd.DataFrame, columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Differences between methods that are no anchors, in the order of ``rows``; none if none has an interval."""
    if paired["low"].isna().all():
        return ()
    filled: dict[str, dict[Column, Cell]] = {}
    for values in records(paired):
        half = half_of(values)
        tied = half is None or abs(values["mean"]) <= half
        cell = Cell(values["mean"], half, values["n"], values["n"], tied=tied, signed=True)
        filled.setdefault(values["method"], {})[column_of(values)] = cell
    compared = [row.method for row in rows if row.method in filled and not row.anchor]
    return tuple(Row(method, "", tuple(map(filled[method].get, columns))) for method in compared)


def fitting(widths: Sequence[int], width: int, *, gap: int = 2) -> list[list[int]]:
    """Which columns stand side by side: as many as fit; one that never fits stands alone.

    Args:
        widths: of the columns, in characters.
        width: of the space there is.
        gap: characters between columns.
    """
    parts: list[list[int]] = []
    room = 0
    for place, needed in enumerate(widths):
        if needed + gap > room or not parts:
            parts.append([])
            room = width
        parts[-1].append(place)
        room -= needed + gap
    return parts
