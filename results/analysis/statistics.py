"""Means over seeds with Student-t intervals, and differences that use the pairing of seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from results.analysis.variants import CELL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
AVERAGED = ["views", "seconds", "pretrain_seconds", "views_per_second", "flops"]
SUMMARY_COLUMNS = [
    *["method", "dataset", "backbone", "protocol", "evaluation", "metric", "mean", "std", "n", "low", "high"],
    *["evaluated_on", "version", "fairness", "method_name", "evaluation_name", "seeds", "collapsed", "budget"],
    *[*AVERAGED, "peak_memory", "device", "precision", "refinement", "transductive", "baseline"],
]
COLUMN = [key for key in CELL if key != "method"]
"""What the methods of one column of a table share."""

DIFFERENCE_COLUMNS = [*COLUMN, "method", "reference", "mean", "std", "n", "low", "high"]


@dataclass(frozen=True)
class Estimate:
    """Mean over ``n`` seeds, in the unit of the values.

    Attributes:
        mean: of them.
        std: their standard deviation, with n - 1; NaN for one.
        n: how many.
        low: lower end of the interval of the mean; NaN for one.
        high: upper end.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float


def estimate(values: ArrayLike) -> Estimate:
    """Mean and Student-t interval of a handful of values.

    Raises:
        ValueError: there are none.
    """
    array = np.asarray(values, dtype=float)
    if not array.size:
        raise ValueError("no values to average")
    mean, n = float(array.mean()), array.size
    std = float(array.std(ddof=1)) if n > 1 else float("nan")
    half = float(half_width(np.array([std]), np.array([n]))[0])
    return Estimate(mean, std, n, mean - half, mean + half)


def half_width(std: NDArray[np.float64], n: NDArray[np.int64], confidence: float = CONFIDENCE) -> NDArray[np.float64]:
    """Half the width of the Student-t interval of a mean, t · std / √n; NaN where n < 2."""
    # scipy.stats takes a second to import.
    from scipy.special import stdtrit

    quantile = stdtrit(np.maximum(n - 1, 1), (1 + confidence) / 2)
    return np.where(n > 1, quantile * std / np.sqrt(n), np.nan)


def with_interval(cells: pd.DataFrame) -> pd.DataFrame:
    """Add ``low`` and ``high`` to rows of ``mean``, ``std`` and ``n``."""
    half = half_width(cells["std"].to_numpy(float), cells["n"].to_numpy(int))
    return cells.assign(low=cells["mean"] - half, high=cells["mean"] + half)


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and refinement: ``SUMMARY_COLUMNS``, with cost as the mean over seeds and ``seeds`` as "0 1 2".

    Args:
        results: see ``results.analysis.frame.RESULT_COLUMNS``.

    Returns:
        ``refinement`` is empty for what was measured without one; those rows come first.
    """
    rows = results.assign(seeds=results["seed"].astype(str), collapsed=results["warning"] != "")
    cells = rows.sort_values("seed", kind="stable").groupby([*CELL, "refinement"], sort=False)
    summary = cells.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        n=("value", "size"),
        seeds=("seeds", " ".join),
        collapsed=("collapsed", "sum"),
        peak_memory=("peak_memory", "max"),
        **{key: (key, "mean") for key in AVERAGED},
        **{key: (key, "first") for key in ("method_name", "evaluation_name", "baseline", "transductive")},
        **{key: (key, "first") for key in ("budget", "device", "precision")},
    )
    for key in ("budget", "device", "precision"):
        for cell in summary.index[cells[key].nunique() > 1]:
            summary.loc[cell, key] = "; ".join(cells[key].get_group(cell).unique())
    summary = with_interval(summary.reset_index())[SUMMARY_COLUMNS]
    return summary.sort_values("refinement", key=lambda names: names != "", kind="stable", ignore_index=True)


def without_baselines(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose method is no baseline."""
    return rows[rows["baseline"] == ""]


def mark_best(summary: pd.DataFrame) -> pd.DataFrame:
    """Which method is best in each column, and which cannot be told from it.

    Higher is better. A method cannot be told from the best when their intervals overlap, or when one of them has none.
    Baselines do not compete.

    Args:
        summary: rows of one refinement, or of none.

    Returns:
        Columns ``best`` and ``tied``, with the index of ``summary``.
    """
    marked = pd.DataFrame({"best": False, "tied": False}, index=summary.index)
    for _, column in without_baselines(summary).groupby(COLUMN, sort=False):
        best = column.index[int(column["mean"].to_numpy(float).argmax())]
        apart = column["high"] < column["low"].loc[best]  # false wherever an interval is NaN
        marked.loc[best, "best"] = True
        marked.loc[column.index[~apart & (column.index != best)], "tied"] = True
    return marked


def differences(results: pd.DataFrame, reference: str | None = None) -> pd.DataFrame:
    """Paired differences to a reference method, over the seeds that both have.

    Runs of one seed share their initial weights, image order and views, so that much of what varies between seeds
    cancels in a difference.

    Args:
        results: rows of one refinement, or of none; see ``results.analysis.frame.RESULT_COLUMNS``.
        reference: label of the reference method; by default in each column the best that is no baseline.

    Returns:
        A row per column and method except the reference: ``DIFFERENCE_COLUMNS``, method minus reference.
    """
    if reference is None:
        return paired_differences(results, best_results(results))
    return paired_differences(results, results[results["method"] == reference])


def paired_differences(results: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """:func:`differences` to the results of one reference method in each column."""
    against = reference[[*COLUMN, "method", "seed", "value"]].rename(columns={"method": "reference", "value": "base"})
    pairs = results[[*COLUMN, "method", "seed", "value"]].merge(against, on=[*COLUMN, "seed"])
    pairs = pairs[pairs["method"] != pairs["reference"]]
    cells = (pairs["value"] - pairs["base"]).groupby([pairs[key] for key in DIFFERENCE_COLUMNS[:-5]], sort=False)
    table = cells.agg(["mean", "std", "size"]).reset_index().rename(columns={"size": "n"})
    return with_interval(table)[DIFFERENCE_COLUMNS]


def best_results(results: pd.DataFrame) -> pd.DataFrame:
    """In each column the rows of the method with the highest mean that is no baseline."""
    means = without_baselines(results).groupby([*COLUMN, "method"], sort=False)["value"].mean().reset_index()
    best = means.loc[means.groupby(COLUMN, sort=False)["value"].idxmax()]
    return results.merge(best[[*COLUMN, "method"]], on=[*COLUMN, "method"])
