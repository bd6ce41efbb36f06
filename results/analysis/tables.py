"""The numbers of the main tables: a row per method, a column per data set and evaluation.

There is one table per protocol, version, fairness and backbone; protocols are never mixed in one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.analysis.sensitivity import find_sensitivity
from results.analysis.statistics import COLUMN
from results.names import direction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from results.analysis.frame import Frames
    from results.analysis.multiple_comparisons import AllPairs
    from results.analysis.sensitivity import Sensitivity
    from results.names import Baseline

TABLE_KEYS = ["protocol", "version", "fairness", "backbone"]
"""What the runs of one table share."""

COLUMN_KEYS = [key for key in COLUMN if key not in TABLE_KEYS]
"""What tells the columns of one table apart."""

BASELINE_ORDER = {"upper": 0, "external": 1, "": 2, "lower": 3}


@dataclass(frozen=True)
class ResultColumn:
    """What the numbers of a column measure.

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
        """The data set, or both: ``cifar10 → cifar100``."""
        return dataset_name(self.dataset, self.evaluated_on)

    @property
    def measure(self) -> str:
        """The evaluation, with the metric where it is not top-1 accuracy."""
        return self.evaluation if self.metric == "top1" else f"{self.evaluation} {self.metric}"


@dataclass(frozen=True)
class ResultCell:
    """One number of a table, in percent or percentage points.

    Attributes:
        mean: over seeds.
        half: half the width of its interval; None from one seed.
        n: number of seeds.
        planned: seeds that any method of the table was started with on the data set.
        best: whether no other of its column is better beyond the noise, baselines aside.
        tied: of a difference, whether it can't be told from 0.
        collapsed: number of runs whose representation has collapsed.
    """

    mean: float
    half: float | None
    n: int
    planned: int
    best: bool = False
    tied: bool = False
    collapsed: int = 0


@dataclass(frozen=True)
class ResultRow:
    """One method.

    Attributes:
        method: its label.
        baseline: ``upper``, ``lower``, ``external``, or empty for a method that competes.
        cells: one per column; None where nothing was measured.
    """

    method: str
    baseline: Baseline
    cells: tuple[ResultCell | None, ...]


@dataclass(frozen=True)
class ResultTable:
    """Everything measured under one protocol with one backbone.

    Attributes:
        key: protocol, version, fairness and backbone.
        name: safe as part of a file's name.
        columns: of ``rows`` and ``differences``.
        rows: the upper baseline on top, weights trained elsewhere, methods by mean, the lower baseline at the bottom;
            none if no run has finished.
        differences: to the best method of each column, over the seeds that both have; that method's cell is None.
        sensitivity: what its seeds can tell; None if no run has finished.
        planned: by data set the seeds that any method was started with.
    """

    key: tuple[Any, ...]
    name: str
    columns: tuple[ResultColumn, ...]
    rows: tuple[ResultRow, ...]
    differences: tuple[ResultRow, ...]
    sensitivity: Sensitivity | None
    planned: Mapping[str, Sequence[int]]

    @property
    def title(self) -> str:
        """Protocol and backbone."""
        return f"{self.key[0]} · {self.key[3]}"


def result_tables(
    frames: Frames,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    comparisons: Mapping[tuple[Any, ...], AllPairs],
) -> list[ResultTable]:
    """The tables of all runs that say which protocol and backbone they belong to.

    Args:
        frames: all runs.
        summary: ``results.analysis.statistics.summarize`` of their unrefined results, with ``best`` as ``mark_best``
            returns it.
        differences: ``results.analysis.statistics.differences_to_best`` of the same.
        comparisons: ``results.analysis.statistics.compare_methods`` of the same.
    """
    cells, paired, results = by_table(summary), by_table(differences), by_table(frames.unrefined)
    tables: list[ResultTable] = []
    for key, runs in by_table(frames.runs).items():
        seeds = runs.groupby("dataset")["seed"]
        planned = {str(dataset): sorted(of_dataset.astype(int).unique()) for dataset, of_dataset in seeds}
        columns: tuple[ResultColumn, ...] = ()
        rows: tuple[ResultRow, ...] = ()
        sensitivity = None
        if key in cells:
            measured = cells[key][COLUMN_KEYS].drop_duplicates()
            columns = tuple(map(column_of, records(measured.sort_values(["dataset", "evaluated_on"], kind="stable"))))
            rows = result_rows(cells[key], columns, planned)
            of_columns = results[key][COLUMN].drop_duplicates().itertuples(index=False, name=None)
            pairs = [comparisons[column] for column in of_columns if column in comparisons]
            sensitivity = find_sensitivity(results[key], pairs, runs)
        name = unique_name(f"{key[0]}-{key[3]}", [table.name for table in tables])
        below = difference_rows(paired[key], columns, rows) if key in paired else ()
        tables.append(ResultTable(key, name, columns, rows, below, sensitivity, planned))
    return tables


def dataset_name(dataset: str, evaluated_on: str) -> str:
    """The data set that was pretrained on, with the one that was evaluated on where that is another."""
    return dataset if dataset == evaluated_on else f"{dataset} → {evaluated_on}"


def by_table(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows of each table, by its key; rows that belong to none are left out."""
    return {tuple(key): rows for key, rows in frame.dropna(subset=TABLE_KEYS).groupby(TABLE_KEYS)}


def unique_name(text: str, taken: Sequence[str]) -> str:
    """The text made safe for the name of a file, with a number if it is taken."""
    name = re.sub(r"[^\w.@+=,-]+", "_", text).replace("_-", "-").strip("_")
    same = sum(other == name or other.startswith(f"{name}~") for other in taken)
    return f"{name}~{same + 1}" if same else name


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries by column."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def column_of(values: Mapping[str, Any]) -> ResultColumn:
    """The column that a row of results or of a summary belongs to."""
    return ResultColumn(**{key: values[key] for key in COLUMN_KEYS})


def result_rows(
    cells: pd.DataFrame, columns: Sequence[ResultColumn], planned: Mapping[str, Sequence[int]]
) -> tuple[ResultRow, ...]:
    """A row per method: by their baseline, then in the order of the first column.

    Methods that have no result there follow, by how far they are better than the means of the columns they are in.
    """
    filled: dict[tuple[str, Baseline], dict[ResultColumn, ResultCell]] = {}
    for values in records(cells):
        filled.setdefault((values["method"], values["baseline"]), {})[column_of(values)] = ResultCell(
            mean=values["mean"],
            half=half_width_of(values),
            n=values["n"],
            planned=1 if values["baseline"] == "external" else len(planned[values["dataset"]]),
            best=values["best"],
            collapsed=values["collapsed"],
        )
    rows = [ResultRow(*method, tuple(map(row.get, columns))) for method, row in filled.items()]
    means = [average([cell.mean for row in rows if (cell := row.cells[i])]) for i in range(len(columns))]

    def order(row: ResultRow) -> tuple[int, bool, float, str]:
        with_means = zip(row.cells, means, columns, strict=True)
        advantages = [direction(column.metric) * (cell.mean - mean) for cell, mean, column in with_means if cell]
        in_first = row.cells[0] is not None
        return (
            BASELINE_ORDER[row.baseline],
            not in_first,
            -(advantages[0] if in_first else average(advantages)),
            row.method,
        )

    return tuple(sorted(rows, key=order))


def half_width_of(values: Mapping[str, Any]) -> float | None:
    """Half the width of the interval from ``low`` to ``high``; None if there is none."""
    half = (values["high"] - values["low"]) / 2
    return None if math.isnan(half) else half


def average(values: Sequence[float]) -> float:
    """The mean of at least one number."""
    return sum(values) / len(values)


def difference_rows(
    differences: pd.DataFrame, columns: Sequence[ResultColumn], rows: Sequence[ResultRow]
) -> tuple[ResultRow, ...]:
    """Differences to the best methods, in the order of ``rows``; none if none has an interval."""
    if differences["low"].isna().all():
        return ()
    filled: dict[str, dict[ResultColumn, ResultCell]] = {}
    for values in records(differences):
        half = half_width_of(values)
        tied = half is None or abs(values["mean"]) <= half
        cell = ResultCell(values["mean"], half, values["n"], values["n"], tied=tied)
        filled.setdefault(values["method"], {})[column_of(values)] = cell
    compared = [row.method for row in rows if row.method in filled]
    return tuple(ResultRow(method, "", tuple(map(filled[method].get, columns))) for method in compared)
