"""Two methods that were chosen beforehand: paired differences, and how many seeds would decide between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.analysis.multiple_comparisons import CONFIDENCE
from results.analysis.statistics import COLUMN, differences
from results.analysis.tables import COLUMN_KEYS, TABLE_KEYS, column_of, half_width_of, records
from results.errors import RequestError, UnknownName
from results.names import direction

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from results.analysis.frame import Frames
    from results.analysis.tables import ResultColumn

POWER = 0.8
"""Share of repetitions in which the seeds that are asked for show a difference as large as the measured one."""

MOST_SEEDS = 1000
"""Seeds beyond which nobody will go."""


@dataclass(frozen=True)
class PairDifference:
    """The difference between two methods in one column of a table, over the seeds that both have.

    Attributes:
        table: title of the table: protocol and backbone.
        column: what was measured.
        first: mean of the first method over these seeds.
        other: mean of the other.
        mean: of the differences, first minus other, in the unit of the metric.
        std: their standard deviation; NaN from one seed.
        half: half the width of its paired Student-t interval; None from one seed.
        n: seeds that both have.
        seeds: with which ``POWER`` of all repetitions would show a difference as large as ``mean``, if ``std`` stays;
            None if more than ``MOST_SEEDS`` or unknown, or if the interval excludes 0 already.
        seconds: of the runs that are missing to ``seeds``, one after the other, each as long as those of its method.
        missing: number of these runs.
    """

    table: str
    column: ResultColumn
    first: float
    other: float
    mean: float
    std: float
    half: float | None
    n: int
    seeds: int | None
    seconds: float
    missing: int

    @property
    def winner(self) -> int:
        """1 if the first is better beyond the noise, −1 if the other is, 0 if that cannot be told."""
        if self.half is None or abs(self.mean) <= self.half:
            return 0
        return direction(self.column.metric) * (1 if self.mean > 0 else -1)


def compare_pair(frames: Frames, first: str, other: str) -> tuple[PairDifference, ...]:
    """The differences between two methods in every column that both were measured in.

    Args:
        frames: all runs.
        first: label of a method.
        other: label of another.

    Raises:
        RequestError: they are the same, or were nowhere measured together.
        UnknownName: nothing was measured of one of them.
    """
    results = frames.unrefined
    for method in (first, other):
        if method not in set(results["method"]):
            raise UnknownName("method", method, sorted(results["method"].unique()))
    if first == other:
        raise RequestError(f"{first} is compared with itself", hint="name two methods: --compare A B")
    both = results[results["method"].isin([first, other])]
    found = differences(both, other)
    if found.empty:
        raise RequestError(
            f"{first} and {other} share no seed of any data set, backbone and protocol",
            hint="run both with the same --datasets, --backbones, --protocol and --seeds",
        )
    done = frames.runs[frames.runs["status"] == "done"]
    return tuple(describe_pair(row, both, done, (first, other)) for row in records(found))


def describe_pair(
    row: dict[str, object], results: pd.DataFrame, done: pd.DataFrame, methods: tuple[str, str]
) -> PairDifference:
    """One difference with what more seeds would take.

    Args:
        row: ``results.analysis.statistics.DIFFERENCE_COLUMNS``.
        results: of both methods.
        done: finished runs, see ``results.analysis.frame.RUN_COLUMNS``.
        methods: labels of the first and of the other.
    """
    cell = results[(results[COLUMN] == [row[key] for key in COLUMN]).all(axis=1)]
    values = cell.pivot_table(index="seed", columns="method", values="value").dropna()
    first, other = (float(values[method].mean()) for method in methods)
    mean, std, half, n = float(row["mean"]), float(row["std"]), half_width_of(row), int(row["n"])  # type: ignore[arg-type, call-overload]
    decided = half is not None and abs(mean) > half
    seeds = None if decided else deciding_seeds(mean, std)
    seconds, missing = 0.0, 0
    if seeds is not None:
        keys = [*TABLE_KEYS, "dataset"]
        runs = done[(done[keys] == [row[key] for key in keys]).all(axis=1) & done["method"].isin(methods)]
        by_method = runs.groupby("method")["seconds"].agg(["mean", "size"])
        needed = (seeds - by_method["size"]).clip(lower=0)
        seconds, missing = float((by_method["mean"] * needed).sum()), int(needed.sum())
    column = column_of({key: row[key] for key in COLUMN_KEYS})
    title = f"{row['protocol']} · {row['backbone']}"
    return PairDifference(title, column, first, other, mean, std, half, n, seeds, seconds, missing)


def deciding_seeds(mean: float, std: float) -> int | None:
    """Seeds with which a paired t test shows a difference of ``mean`` in ``POWER`` of all repetitions.

    Args:
        mean: true difference.
        std: standard deviation of the differences of single seeds.

    Returns:
        None where more than ``MOST_SEEDS`` are needed, or nothing is known of the noise.
    """
    if math.isnan(std) or mean == 0:
        return None
    if std == 0:
        return 2
    n = np.arange(2, MOST_SEEDS + 1)
    enough = power(abs(mean) / std, n) >= POWER
    return int(n[np.argmax(enough)]) if enough.any() else None


def power(effect: float, n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability that a two-sided paired t test with n seeds shows a difference.

    Args:
        effect: the true difference, over the standard deviation of the differences of single seeds.
        n: numbers of seeds, 2 or more.
    """
    # scipy.stats takes a second to import.
    from scipy.special import nctdtr, stdtrit

    critical = stdtrit(n - 1, (1 + CONFIDENCE) / 2)
    shift = effect * np.sqrt(n)
    missed = nctdtr(n - 1, shift, critical) - nctdtr(n - 1, shift, -critical)
    # Far in its tails the distribution is NaN; there the difference is never missed.
    return np.asarray(1 - np.nan_to_num(missed, nan=0.0), dtype=float)
