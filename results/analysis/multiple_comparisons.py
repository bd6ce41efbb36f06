"""Which methods differ: all pairs of one column, paired over seeds and corrected for the number of methods.

Two methods differ if the interval of their difference excludes 0. The intervals of all pairs of a column hold together:
of columns of equal methods at most one in twenty names a difference. ``results/analysis/README.md`` has the simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

CONFIDENCE = 0.95

MOST_POOLED = 4
"""Methods beyond which further ones add no degrees of freedom; see :class:`AllPairs`."""

NODES = 64
"""Of the Gauss-Legendre quadratures of the studentized range."""


@dataclass(frozen=True)
class AllPairs:
    """Differences between all pairs of m methods, the first minus the second, over the seeds that both have.

    Over n seeds the interval of a difference has half the width q · s / √(2 n). The variance s² is that of the paired
    differences, or twice the residual variance of all methods around the means of methods and seeds, whichever is
    larger. q is the quantile of the studentized range of m groups with (n - 1) · min(m, 4) / 2 degrees of freedom. For
    two methods this is the paired Student-t interval.

    Three seeds leave the variance of one pair two degrees of freedom; correcting that for the pairs of eleven methods
    (Bonferroni) makes intervals eight times as wide as the pooled variance does (Tukey). But pooling is wrong where the
    variances of methods are not equal: with one of eleven at five times the standard deviation of the others, Tukey's
    intervals name a difference in a fifth of the columns of equal methods. Hence the larger of the two variances, and
    fewer degrees of freedom than the pooled one has.

    Attributes:
        methods: labels, of the rows and columns of all arrays (m, m).
        n: seeds that both methods have.
        mean: of the difference; NaN where n = 0.
        std: standard deviation of the difference, with n - 1; NaN where n < 2.
        residual: variance of a method around the means of methods and seeds; NaN if no two methods share two seeds.
        free: degrees of freedom of ``residual``.
        groups: different methods that share two seeds with another; those with exactly the same values are one.
    """

    methods: tuple[str, ...]
    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    residual: float
    free: int
    groups: int

    @cached_property
    def half(self) -> NDArray[np.float64]:
        """Half the widths of the simultaneous intervals (m, m); NaN on the diagonal and where n < 2."""
        half = np.full(self.mean.shape, np.nan)
        for n in np.unique(self.n[self.n > 1]):
            same = (self.n == n) & ~np.eye(len(self.methods), dtype=bool)
            freedom = min((n - 1) * min(self.groups, MOST_POOLED) / 2, self.free)
            scale = np.sqrt(np.maximum(2 * self.residual, self.std[same] ** 2) / (2 * n))
            half[same] = studentized_range_quantile(max(self.groups, 2), float(freedom)) * scale
        return half

    @property
    def is_better(self) -> NDArray[np.bool_]:
        """Whether the first method is better than the second beyond the noise (m, m); higher is better."""
        return self.mean > self.half  # false wherever there is no interval

    @property
    def best(self) -> list[str]:
        """The methods that none is better than beyond the noise; none of those that cannot be compared."""
        comparable, beaten = ~np.isnan(self.half).all(axis=1), self.is_better.any(axis=0)
        return [self.methods[index] for index in np.flatnonzero(comparable & ~beaten)]

    @property
    def typical_half(self) -> float:
        """The median over pairs of half the width of their intervals; NaN if no two methods share two seeds."""
        known = self.half[~np.isnan(self.half)]
        return float(np.median(known)) if known.size else float("nan")

    def with_seeds(self, n: int) -> AllPairs:
        """What ``n`` seeds would give if the variances stay; of methods that share two seeds with another."""
        return replace(self, n=np.where(self.n > 1, n, 0), free=(self.groups - 1) * (n - 1))


def compare_all_pairs(values: pd.DataFrame) -> AllPairs:
    """Compare methods that were run with the same seeds.

    Args:
        values: a row per seed, a column per method; NaN where a seed is missing.
    """
    y = values.to_numpy(float)
    known = ~np.isnan(y)
    n = known.T.astype(int) @ known.astype(int)
    differences = y[:, :, None] - y[:, None, :]
    sums = np.nansum(differences, axis=0)
    mean = np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0)
    squares = np.nansum((differences - mean) ** 2, axis=0)
    std = np.sqrt(np.divide(squares, n - 1, out=np.full(sums.shape, np.nan), where=n > 1))
    shares = n > 1
    np.fill_diagonal(shares, val=False)
    distinct = {column.tobytes(): column for column in y.T[shares.any(axis=1)]}
    residual, free = residual_variance(np.array([*distinct.values()]).T) if distinct else (float("nan"), 0)
    return AllPairs(tuple(map(str, values.columns)), n, mean, std, residual, free, len(distinct))


def residual_variance(values: NDArray[np.float64]) -> tuple[float, int]:
    """Variance around the means of methods and seeds, by least squares, and its degrees of freedom.

    Args:
        values: (seeds, methods), NaN where a seed is missing.

    Returns:
        NaN and 0 where there are as many means as values.
    """
    seeds, methods = np.nonzero(~np.isnan(values))
    counts = np.bincount(seeds, minlength=len(values))

    def without_seed_means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((len(values), rows.shape[1]))
        np.add.at(sums, seeds, rows)
        return rows - (sums / np.maximum(counts, 1)[:, None])[seeds]

    # Fitting methods to what seed means leave, of both sides, leaves what fitting both would (Frisch & Waugh 1933).
    y = without_seed_means(values[seeds, methods][:, None])
    design = without_seed_means(np.eye(values.shape[1])[methods])
    fitted, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    free = int(len(y) - np.count_nonzero(counts) - rank)
    return (float(((y - design @ fitted) ** 2).sum() / free), free) if free else (float("nan"), 0)


@lru_cache(maxsize=4096)
def studentized_range_quantile(groups: int, freedom: float) -> float:
    """Quantile at ``CONFIDENCE`` of the range of standard normal variables over an independent standard deviation.

    scipy.stats has the same and takes a second to import.

    Args:
        groups: number of variables, 2 or more.
        freedom: degrees of freedom of the standard deviation; need not be whole.
    """
    from scipy.special import gammaincinv, ndtr, stdtrit

    if groups == 2:
        return float(2**0.5 * stdtrit(freedom, (1 + CONFIDENCE) / 2))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z, u = 8 * nodes, (nodes + 1) / 2
    density = 8 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    deviation = np.sqrt(2 * gammaincinv(freedom / 2, u) / freedom)

    def probability(q: float) -> float:
        # Of the largest variable at z, all others lie within q standard deviations below it.
        within = (ndtr(z) - ndtr(z - q * deviation[:, None])) ** (groups - 1)
        return float(weights / 2 @ (groups * within @ density))

    low, high = 0.0, 4.0
    while probability(high) < CONFIDENCE:
        low, high = high, 2 * high
    for _ in range(26):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < CONFIDENCE else (low, middle)
    return high
