"""Methods over several data sets: average ranks with a critical difference, and interquartile means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.analysis.multiple_comparisons import studentized_range_quantile
from results.analysis.statistics import without_baselines
from results.analysis.tables import dataset_name
from results.names import direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

FEWEST_DATASETS = 5
"""Data sets from which on ranks are averaged."""

RESAMPLES = 2000
"""Of the bootstrap."""

LARGE = 1e5
"""Degrees of freedom of a known variance."""


@dataclass(frozen=True)
class AcrossDatasets:
    """Methods that were all measured on the same data sets by one evaluation, the best average rank first.

    Ranks of the means over seeds on each data set, 1 for the best and the mean rank for equal ones (Demšar, JMLR 2006).
    Two average ranks differ where they lie further apart than the critical difference of Nemenyi's test.

    The interquartile mean is that of all runs on all data sets, a quarter left out at either end; its interval is the
    bootstrap's that draws seeds within each data set (Agarwal et al., NeurIPS 2021), the same ones for all methods.

    Attributes:
        evaluation: its label.
        metric: its name.
        methods: labels (m).
        datasets: names, of those that were evaluated on with what was pretrained on where that differs.
        ranks: average ranks (m).
        critical_difference: of average ranks, at 95 % for all pairs together.
        p: of Friedman's test that all methods are equal, by the F distribution (Iman & Davenport 1980).
        iqm: interquartile means (m), in the unit of the metric; NaN where the methods share no seed of a data set.
        low: lower ends of their intervals (m); NaN where a data set has one seed only.
        high: upper ends (m).
        left_out: methods that compete and were not measured on all of the data sets.
    """

    evaluation: str
    metric: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    ranks: NDArray[np.float64]
    critical_difference: float
    p: float
    iqm: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    left_out: tuple[str, ...]

    @property
    def measure(self) -> str:
        """The evaluation, with the metric where it is not top-1 accuracy."""
        return self.evaluation if self.metric == "top1" else f"{self.evaluation} {self.metric}"

    @property
    def cliques(self) -> list[tuple[int, int]]:
        """First and last index of every longest row of methods within the critical difference of each other."""
        ends = [int(np.flatnonzero(self.ranks - rank <= self.critical_difference)[-1]) for rank in self.ranks]
        return [
            (first, last) for first, last in enumerate(ends) if last > first and (first == 0 or ends[first - 1] < last)
        ]


def compare_across(results: pd.DataFrame) -> list[AcrossDatasets]:
    """The methods of one table over its data sets, for every evaluation that has enough of these.

    Baselines do not compete. Methods that are one pretraining are ranked once, as the first of them.

    Args:
        results: of one table, without refinement; see ``results.analysis.frame.RESULT_COLUMNS``.
    """
    competing = without_baselines(results)
    competing = competing[competing["method"] == competing["pretraining"]]
    names = [dataset_name(*pair) for pair in zip(competing["dataset"], competing["evaluated_on"], strict=True)]
    found = []
    for key, of_measure in competing.assign(data=names).groupby(["evaluation", "metric"], sort=False):
        evaluation, metric = map(str, key)
        means = of_measure.pivot_table(index="data", columns="method", values="value")
        complete = means.dropna(axis="columns")
        if len(complete) >= FEWEST_DATASETS and complete.shape[1] > 1:
            left_out = tuple(map(str, means.columns.difference(complete.columns)))
            found.append(rank_methods(of_measure, complete, (evaluation, metric), left_out))
    return found


def rank_methods(
    results: pd.DataFrame, means: pd.DataFrame, measure: tuple[str, str], left_out: tuple[str, ...]
) -> AcrossDatasets:
    """Average ranks and interquartile means of one evaluation.

    Args:
        results: of the evaluation, with ``data``, the data set.
        means: over seeds: a row per data set, a column per method.
        measure: evaluation and metric.
        left_out: methods with gaps.
    """
    ranks = (direction(measure[1]) * means).rank(axis="columns", ascending=False)
    order = ranks.mean().sort_values(kind="stable").index
    ranks = ranks[order]
    datasets, methods = ranks.shape
    values = [
        of_data.pivot_table(index="seed", columns="method", values="value")[order].dropna().to_numpy(float)
        for _, of_data in results.groupby("data")
    ]
    iqm, low, high = interquartile_means(values)
    quantile = studentized_range_quantile(methods, LARGE) / 2**0.5
    return AcrossDatasets(
        *measure,
        tuple(map(str, order)),
        tuple(map(str, means.index)),
        ranks.mean().to_numpy(float),
        float(quantile * (methods * (methods + 1) / (6 * datasets)) ** 0.5),
        friedman(ranks.to_numpy(float)),
        iqm,
        low,
        high,
        left_out,
    )


def friedman(ranks: NDArray[np.float64]) -> float:
    """The p-value of Friedman's test by the F distribution, which holds for few data sets too, and for ties.

    Args:
        ranks: (data sets, methods).
    """
    from scipy.special import fdtrc

    datasets, methods = ranks.shape
    centred = ranks - (methods + 1) / 2
    between = datasets * (centred.mean(axis=0) ** 2).sum()
    within = (centred**2).sum() - between
    if between == 0:
        return 1.0
    if within <= 1e-12 * between:
        return 0.0
    return float(fdtrc(methods - 1, (methods - 1) * (datasets - 1), (datasets - 1) * between / within))


def interquartile_means(
    values: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Interquartile means of methods, and the ends of their intervals by the stratified bootstrap.

    Args:
        values: of every data set (seeds, methods), with the seeds that all methods have.

    Returns:
        Three arrays (methods); the ends are NaN where a data set has one seed only, all where it has none.
    """
    scores = np.concatenate(values)
    unknown, fewest = np.full(scores.shape[1], np.nan), min(map(len, values))
    means = trimmed_mean(scores.T) if fewest else unknown
    if fewest < 2:
        return means, unknown, unknown
    random = np.random.default_rng(0)
    starts = np.cumsum([0, *map(len, values[:-1])])
    drawn = [
        start + random.integers(len(block), size=(RESAMPLES, len(block)))
        for start, block in zip(starts, values, strict=True)
    ]
    indices = np.concatenate(drawn, axis=1)
    ends = [np.percentile(trimmed_mean(scores[indices, method]), [2.5, 97.5]) for method in range(scores.shape[1])]
    low, high = np.array(ends).T
    return means, low, high


def trimmed_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the last axis without the lowest and the highest quarter."""
    cut = scores.shape[-1] // 4
    means: NDArray[np.float64] = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(axis=-1)
    return means
