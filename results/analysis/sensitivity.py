"""What the seeds of a table can tell, and what more of them would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.analysis.statistics import half_width, without_baselines

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from results.analysis.multiple_comparisons import AllPairs

FEWEST = 3
"""Seeds to ask for where there is one: two leave a single degree of freedom."""


@dataclass(frozen=True)
class Sensitivity:
    """What the seeds of one table can tell.

    Attributes:
        methods: that compete.
        now: in points, of every column half the width of a typical interval: of the difference of two methods, or of
            the mean if there is one method only. Smaller differences cannot be told from noise, larger ones can.
            Columns without an interval are left out.
        seeds: so many would halve all of ``now``, if variances stay; ``FEWEST`` if it is empty.
        then: ``now`` with that many seeds.
        seconds: of the runs that are missing to so many seeds, one after the other, each as long as those that are done
            of its method and data set.
    """

    methods: int
    now: tuple[float, ...]
    seeds: int
    then: tuple[float, ...]
    seconds: float


def find_sensitivity(results: pd.DataFrame, comparisons: Sequence[AllPairs], runs: pd.DataFrame) -> Sensitivity:
    """What can be told from the seeds of one table.

    Args:
        results: of the table, without refinement; see ``results.analysis.frame.RESULT_COLUMNS``.
        comparisons: of its methods, one per column.
        runs: of the table, see ``results.analysis.frame.RUN_COLUMNS``.
    """
    competing = without_baselines(results)
    methods = int(competing["method"].nunique())
    pairs = [column for column in comparisons if not np.isnan(column.typical_half)]
    by_cell = competing.groupby(["dataset", "evaluated_on", "evaluation", "metric", "method"], sort=False)["value"]
    cells = by_cell.agg(["std", "size"])
    most, repeated = int(cells["size"].max()) if methods else 0, cells[cells["size"] > 1]

    def halves(n: int) -> NDArray[np.float64]:
        if methods > 1:
            return np.array([column.with_seeds(n).typical_half for column in pairs])
        return half_width(repeated["std"].to_numpy(float), np.full(len(repeated), n))

    if methods > 1:
        now = np.array([column.typical_half for column in pairs])
    else:
        now = half_width(repeated["std"].to_numpy(float), repeated["size"].to_numpy(int))
    seeds = max(FEWEST, most)
    if now.size:
        too_few, seeds = most, 2 * most
        while (halves(seeds) > now / 2).any():
            too_few, seeds = seeds, 2 * seeds
        while seeds - too_few > 1:
            middle = (too_few + seeds) // 2
            too_few, seeds = (middle, seeds) if (halves(middle) > now / 2).any() else (too_few, middle)
    done = runs[runs["status"] == "done"].groupby(["method", "dataset"])["seconds"].agg(["mean", "size"])
    seconds = float((done["mean"] * (seeds - done["size"]).clip(lower=0)).sum())
    return Sensitivity(methods, tuple(now), seeds, tuple(halves(seeds)) if now.size else (), seconds)
