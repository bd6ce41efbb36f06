"""How well numbers that need no labels rank methods: Kendall's τ against accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.analysis.statistics import COLUMN, without_baselines
from results.analysis.tables import column_of, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from results.analysis.tables import ResultColumn

CRITERIA = {"last_loss": -1, "rankme": 1, "lidar": 1}
"""Columns of runs that need no labels, and whether lower (-1) or higher values promise a higher accuracy."""

FEWEST = 4
"""Methods of which a rank correlation says anything: of three every order is one of six."""


@dataclass(frozen=True)
class Agreement:
    """How the order of methods by one criterion agrees with that by accuracy.

    Attributes:
        tau: Kendall's τ-b: 1 for the same order, -1 for the reverse; None where a criterion is the same for all.
        p: two-sided p-value of independence.
        methods: that have both numbers.
    """

    tau: float | None
    p: float
    methods: int


@dataclass(frozen=True)
class Ranking:
    """What the criteria say of the methods of one column.

    Attributes:
        protocol: of the runs.
        backbone: of the runs.
        column: data set and evaluation.
        by_criterion: those that enough methods have.
    """

    protocol: str
    backbone: str
    column: ResultColumn
    by_criterion: Mapping[str, Agreement]


def rank_without_labels(results: pd.DataFrame, runs: pd.DataFrame) -> list[Ranking]:
    """Compare the criteria with the top-1 accuracy of every column that has enough methods without baselines.

    Every number is the mean over a method's seeds.

    Args:
        results: without refinement; see ``results.analysis.frame.RESULT_COLUMNS``.
        runs: see ``results.analysis.frame.RUN_COLUMNS``.
    """
    competing = without_baselines(results[results["metric"] == "top1"])
    joined = competing.merge(runs.drop_duplicates("run")[["run", *CRITERIA]], on="run")
    rankings = []
    for _, column in joined.groupby(COLUMN, sort=False):
        means = column.groupby("method")[["value", *CRITERIA]].mean()
        by_criterion = {}
        for criterion, sign in CRITERIA.items():
            both = means[["value", criterion]].dropna()
            if len(both) >= FEWEST:
                from scipy.stats import kendalltau  # takes a second to import

                tau, p = kendalltau(both["value"], sign * both[criterion])
                by_criterion[criterion] = Agreement(None if math.isnan(tau) else float(tau), float(p), len(both))
        if by_criterion:
            (first,) = records(column.head(1))
            rankings.append(Ranking(first["protocol"], first["backbone"], column_of(first), by_criterion))
    return rankings
