"""Means over seeds with Student-t intervals, and differences between methods over the seeds that both have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.analysis.multiple_comparisons import CONFIDENCE, AllPairs, compare_all_pairs
from results.analysis.variants import CELL
from results.names import direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

AVERAGED = ["views", "seconds", "pretrain_seconds", "views_per_second", "flops", "gpu_seconds", "energy"]
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

    It holds the mean with 95 % if the values are normal; of three lognormal ones, very skewed, with 84 %.

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


def half_width(
    std: NDArray[np.float64], n: NDArray[np.int64], confidence: float | NDArray[np.float64] = CONFIDENCE
) -> NDArray[np.float64]:
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


def compare_methods(results: pd.DataFrame) -> dict[tuple[Any, ...], AllPairs]:
    """All pairs of the methods of every column that are no baselines, by the key of the column (``COLUMN``).

    Values of a metric of which lower ones are better are compared with their sign reversed.

    Args:
        results: rows of one refinement, or of none; see ``results.analysis.frame.RESULT_COLUMNS``.
    """
    return {
        tuple(key): compare_all_pairs(
            direction(column["metric"].iloc[0]) * column.pivot_table(index="seed", columns="method", values="value")
        )
        for key, column in without_baselines(results).groupby(COLUMN, sort=False)
    }


def mark_best(summary: pd.DataFrame, comparisons: Mapping[tuple[Any, ...], AllPairs]) -> pd.Series[bool]:
    """Whether no other method of its column is better beyond the noise; with the index of ``summary``.

    False for baselines, which do not compete, after refinements, and where no two methods of the column share two
    seeds.

    Args:
        summary: see ``SUMMARY_COLUMNS``.
        comparisons: see :func:`compare_methods`; of unrefined results.
    """
    keys = summary[COLUMN].itertuples(index=False, name=None)
    best = {key: {*pairs.best} for key, pairs in comparisons.items()}
    marks = [method in best.get(key, ()) for key, method in zip(keys, summary["method"], strict=True)]
    return pd.Series(marks, index=summary.index, dtype=bool) & (summary["refinement"] == "")


def differences_to_best(results: pd.DataFrame, comparisons: Mapping[tuple[Any, ...], AllPairs]) -> pd.DataFrame:
    """Differences to the best method of each column, with intervals that hold for all pairs of the column together.

    Args:
        results: see :func:`compare_methods`.
        comparisons: of these results.

    Returns:
        A row per column and method except baselines and the best: ``DIFFERENCE_COLUMNS``, method minus best.
    """
    competing = without_baselines(results)
    table = paired_differences(competing, best_results(competing))
    halves = []
    for row in table[[*COLUMN, "method", "reference"]].itertuples(index=False, name=None):
        pairs = comparisons[row[:-2]]
        halves.append(pairs.half[pairs.methods.index(row[-2]), pairs.methods.index(row[-1])])
    return table.assign(low=table["mean"] - halves, high=table["mean"] + halves)


def differences(results: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Paired differences to one method, each with its own Student-t interval: for a comparison chosen beforehand.

    Args:
        results: see :func:`compare_methods`.
        reference: label of the method.

    Returns:
        A row per column and method except the reference: ``DIFFERENCE_COLUMNS``, method minus reference.
    """
    return paired_differences(results, results[results["method"] == reference])


def paired_differences(results: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Differences to the results of one reference method in each column, over the seeds that both have.

    Runs of one seed share initial weights, image order and views. On the committed records that makes differences
    between refined and unrefined results less noisy, and those between methods not; ``results/analysis/README.md`` has
    the ratios of variances.
    """
    against = reference[[*COLUMN, "method", "seed", "value"]].rename(columns={"method": "reference", "value": "base"})
    pairs = results[[*COLUMN, "method", "seed", "value"]].merge(against, on=[*COLUMN, "seed"])
    pairs = pairs[pairs["method"] != pairs["reference"]]
    cells = (pairs["value"] - pairs["base"]).groupby([pairs[key] for key in DIFFERENCE_COLUMNS[:-5]], sort=False)
    table = cells.agg(["mean", "std", "size"]).reset_index().rename(columns={"size": "n"})
    return with_interval(table)[DIFFERENCE_COLUMNS]


def best_results(results: pd.DataFrame) -> pd.DataFrame:
    """In each column the rows of the method with the best mean that is no baseline, of two seeds if any has two."""
    cells = without_baselines(results).groupby([*COLUMN, "method"], sort=False)["value"].agg(["mean", "size"])
    cells["size"] = cells["size"].clip(upper=2)
    cells["advantage"] = cells["mean"] * cells.index.get_level_values("metric").map(direction).astype(float)
    ranked = cells.reset_index().sort_values(["size", "advantage"], ascending=False, kind="stable")
    best = ranked.drop_duplicates(COLUMN)
    return results.merge(best[[*COLUMN, "method"]], on=[*COLUMN, "method"])
