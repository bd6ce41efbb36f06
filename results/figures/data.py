"""What a figure is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import pandas as pd

from results.analysis.frame import HISTORY_COLUMNS, RESULT_COLUMNS, first_seeds, read_histories
from results.analysis.published_tables import SERIES_COLUMNS
from results.analysis.tuning import CURVE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from results.analysis.tables import ResultTable
    from results.figures.markers import MarkerStyle

CURVE_SEEDS = 5
"""Seeds of a method on a data set whose learning curves are shown."""


COLUMN_WIDTH = 3.4
"""Of a figure, in inches: one column of a two-column paper."""

PAGE_WIDTH = 7.2
"""Of a figure on a web page, in inches, which is about both columns of a paper."""


@dataclass(frozen=True)
class FigureData:
    """What the figures of one table show: of a table of ours, or of a published one.

    Attributes:
        name: of the table; safe as part of a file's name.
        title: of the table.
        styles: colour and marker of every method, by its label.
        folders: of every run, by its name.
        table: the numbers of a table of ours; None for a published one.
        results: the results of that table without refinement, ``results.analysis.frame.RESULT_COLUMNS``.
        refined: those with one.
        points: of a figure in a paper its points and ours, ``results.analysis.published_tables.SERIES_COLUMNS``; empty
            for a table of ours.
        tuning: of a search for hyper-parameters its curves, ``results.analysis.tuning.CURVE_COLUMNS``; else empty.
        machines: different ones that the runs of the table were made on; times of several are not compared.
        width: of the figure, in inches: of a column of a paper, or of a page.
    """

    name: str
    title: str
    styles: Mapping[str, MarkerStyle]
    folders: Mapping[str, Path]
    table: ResultTable | None = None
    results: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=RESULT_COLUMNS))
    refined: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=RESULT_COLUMNS))
    points: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=SERIES_COLUMNS))
    tuning: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=CURVE_COLUMNS))
    machines: int = 1
    width: float = COLUMN_WIDTH

    @cached_property
    def history(self) -> pd.DataFrame:
        """The epochs of the first ``CURVE_SEEDS`` seeds of every trained method, with ``method`` and ``dataset``."""
        if self.results.empty:
            return pd.DataFrame(columns=[*HISTORY_COLUMNS, "method", "dataset"])
        trained = self.results[self.results["views"] > 0].drop_duplicates("run")
        drawn = first_seeds(trained, CURVE_SEEDS)[["run", "method", "dataset"]]
        return read_histories(self.folders[run] for run in drawn["run"]).merge(drawn, on="run")

    @property
    def methods(self) -> list[str]:
        """The labels of the methods, in the order of the table."""
        if self.table is None:
            return [str(name) for name in pd.concat([self.points["method"], self.tuning["method"]]).unique()]
        return [row.method for row in self.table.rows]
