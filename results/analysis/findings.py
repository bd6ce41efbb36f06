"""What the numbers of a table say: in each column the best method, and which others can't be told from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.analysis.statistics import COLUMN, best_results, without_baselines
from results.analysis.tables import COLUMN_KEYS, TABLE_KEYS, by_table, column_of, half_width_of, records
from results.names import direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.analysis.frame import Frames
    from results.analysis.multiple_comparisons import AllPairs
    from results.analysis.tables import ResultColumn

FINDING_COLUMNS = [*COLUMN, "best", "mean", "half", "seeds", "not_different", "worse", "not_compared"]


@dataclass(frozen=True)
class Finding:
    """What one column of a table says of the methods that compete.

    Attributes:
        table: key of the table.
        column: what was measured.
        best: the method with the best mean; of those with two seeds, if there are any.
        mean: of it.
        half: half the width of its interval; None from one seed.
        seeds: that it was run with.
        not_different: methods whose difference to it cannot be told from 0, the best mean first.
        worse: methods that it is better than beyond the noise.
        not_compared: methods that share fewer than two seeds with it.
        baselines: means of the baselines, by ``upper`` or ``lower``; where there are several of a kind, the highest.
    """

    table: tuple[Any, ...]
    column: ResultColumn
    best: str
    mean: float
    half: float | None
    seeds: int
    not_different: tuple[str, ...]
    worse: tuple[str, ...]
    not_compared: tuple[str, ...]
    baselines: Mapping[str, float]

    @property
    def others(self) -> int:
        """How many other methods compete."""
        return len(self.not_different) + len(self.worse) + len(self.not_compared)


def find_findings(
    frames: Frames, summary: pd.DataFrame, comparisons: Mapping[tuple[Any, ...], AllPairs]
) -> dict[tuple[Any, ...], list[Finding]]:
    """The findings of every table, in the order of its columns, by its key.

    Args:
        frames: all runs.
        summary: ``results.analysis.statistics.summarize`` of their unrefined results.
        comparisons: ``results.analysis.statistics.compare_methods`` of the same; they decide what differs.
    """
    best = best_results(frames.unrefined).drop_duplicates(COLUMN)
    best_of = dict(zip(best[COLUMN].itertuples(index=False, name=None), best["method"], strict=True))
    findings: dict[tuple[Any, ...], list[Finding]] = {}
    for table, cells in by_table(summary).items():
        for _, column in cells.sort_values(["dataset", "evaluated_on"], kind="stable").groupby(COLUMN_KEYS, sort=False):
            key = tuple(column[COLUMN].iloc[0])
            if key in best_of:
                findings.setdefault(table, []).append(find_finding(table, column, best_of[key], comparisons[key]))
    return findings


def find_finding(table: tuple[Any, ...], cells: pd.DataFrame, best: str, pairs: AllPairs) -> Finding:
    """The finding of one column.

    Args:
        table: key of the table.
        cells: of the column, baselines included; rows of a summary.
        best: label of the best method.
        pairs: all pairs of the methods that compete.
    """
    sign = direction(cells["metric"].iloc[0])
    competing = without_baselines(cells).sort_values("mean", key=lambda means: -sign * means, kind="stable")
    index = pairs.methods.index(best)
    half = dict(zip(pairs.methods, pairs.half[index], strict=True))
    better = dict(zip(pairs.methods, pairs.is_better[index], strict=True))
    others = [method for method in competing["method"] if method != best]
    (row,) = records(competing[competing["method"] == best])
    framing = cells[cells["baseline"] != ""]
    return Finding(
        table=table,
        column=column_of(row),
        best=best,
        mean=row["mean"],
        half=half_width_of(row),
        seeds=int(row["n"]),
        not_different=tuple(m for m in others if not np.isnan(half[m]) and not better[m]),
        worse=tuple(m for m in others if better[m]),
        not_compared=tuple(m for m in others if np.isnan(half[m])),
        baselines={str(kind): float(of_kind["mean"].max()) for kind, of_kind in framing.groupby("baseline")},
    )


def finding_frame(findings: Mapping[tuple[Any, ...], list[Finding]]) -> pd.DataFrame:
    """A row per finding, ``FINDING_COLUMNS``; several labels are separated by a semicolon and a space."""
    rows = [
        {
            **dict(zip(TABLE_KEYS, found.table, strict=True)),
            **{key: getattr(found.column, key) for key in COLUMN_KEYS},
            **{key: getattr(found, key) for key in ("best", "mean", "half", "seeds")},
            **{key: "; ".join(getattr(found, key)) for key in ("not_different", "worse", "not_compared")},
        }
        for of_table in findings.values()
        for found in of_table
    ]
    return pd.DataFrame(rows, columns=FINDING_COLUMNS)
