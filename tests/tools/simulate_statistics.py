"""How often columns of equal methods name a difference, and how often intervals hold the truth, by simulation.

Values are normal, with standard deviations that may differ between methods, or lognormal, their logarithm having a
standard deviation of 1. What all methods of a seed share cancels in every difference, so it is left out. The numbers in
``results/analysis/README.md`` are those of::

    python -m tests.tools.simulate_statistics
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from results.analysis.multiple_comparisons import CONFIDENCE, MOST_POOLED, studentized_range_quantile

TABLES = 20_000
CHUNK = 500

HEADER = (
    "methods",
    "seeds",
    "noise",
    "uncorrected",
    "overlap",
    "Tukey",
    "this rule",
    "half-width",
    "one mean",
    "one pair",
)


class Setting(NamedTuple):
    """Methods and seeds of the columns, and their noise: one of ``DEVIATIONS``, or ``lognormal``."""

    methods: int
    seeds: int
    noise: str


class Rates(NamedTuple):
    """Of simulated columns.

    Attributes:
        uncorrected: share in which the paired interval of any method's difference to the highest mean excludes 0.
        overlap: share in which the interval of any mean does not overlap that of the highest mean.
        tukey: share in which an interval of Tukey, with the pooled variance, excludes 0.
        corrected: share in which the rule of ``results.analysis.multiple_comparisons`` names a difference.
        half: median half-width of its intervals, in standard deviations of the first method.
        of_mean: share of 95 % intervals of one mean that hold it.
        of_pair: share of 95 % intervals of one paired difference that hold it.
    """

    uncorrected: float
    overlap: float
    tukey: float
    corrected: float
    half: float
    of_mean: float
    of_pair: float


DEVIATIONS = {
    "equal": np.ones,
    "one × 3": lambda m: np.where(np.arange(m) == m - 1, 3.0, 1.0),
    "one × 5": lambda m: np.where(np.arange(m) == m - 1, 5.0, 1.0),
    "half × 4": lambda m: np.where(np.arange(m) >= m - m // 2, 4.0, 1.0),
}
"""Standard deviations of methods, by what they are called."""

SETTINGS = [
    *(Setting(methods, 3, "equal") for methods in (2, 3, 5, 11, 30)),
    *(Setting(11, seeds, "equal") for seeds in (2, 5, 10)),
    *(Setting(methods, 3, noise) for noise in ("one × 3", "one × 5", "half × 4") for methods in (3, 4, 11, 30)),
    *(Setting(11, 10, noise) for noise in ("one × 5", "half × 4")),
    *(Setting(11, seeds, "lognormal") for seeds in (3, 10)),
]


def draw(setting: Setting, tables: int, rng: np.random.Generator) -> np.ndarray:
    """Values (tables, seeds, methods) of methods whose mean is 0."""
    normal = rng.standard_normal((tables, setting.seeds, setting.methods))
    if setting.noise == "lognormal":
        return (np.exp(normal) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    return normal * DEVIATIONS[setting.noise](setting.methods)


def simultaneous_halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half-widths (tables, pairs) by the rule for whole tables, from sums of squares instead of least squares.

    Returns:
        Those of the rule, and Tukey's (tables, 1).
    """
    _, n, m = values.shape
    around = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
    residual = (around**2).sum((1, 2))[:, None] / ((m - 1) * (n - 1))
    first, second = np.triu_indices(m, 1)
    variance = (values[:, :, first] - values[:, :, second]).var(1, ddof=1)
    quantile = studentized_range_quantile(m, (n - 1) * min(m, MOST_POOLED) / 2)
    tukey = studentized_range_quantile(m, (m - 1) * (n - 1)) * np.sqrt(residual / n)
    return quantile * np.sqrt(np.maximum(2 * residual, variance) / (2 * n)), tukey


def simulate(setting: Setting, tables: int, seed: int = 0) -> Rates:
    """Rates over so many tables."""
    rng = np.random.default_rng([seed, *setting[:2], len(setting.noise)])
    found = []
    while tables > 0:
        values = draw(setting, min(tables, CHUNK), rng)
        tables -= len(values)
        _, n, m = values.shape
        t = stdtrit(n - 1, (1 + CONFIDENCE) / 2) / np.sqrt(n)
        mean, half = values.mean(1), t * values.std(1, ddof=1)
        first, second = np.triu_indices(m, 1)
        corrected, tukey = simultaneous_halves(values)
        differences = np.abs(mean[:, first] - mean[:, second])
        best = mean.argmax(1)
        rows = np.arange(len(values))
        to_best = values[rows, :, best][:, :, None] - values
        with np.errstate(invalid="ignore"):
            uncorrected = to_best.mean(1) > t * to_best.std(1, ddof=1)
        uncorrected[rows, best] = False
        pair = values[:, :, 0] - values[:, :, -1]
        found.append(
            [
                uncorrected.any(1),
                (mean + half < (mean - half)[rows, best][:, None]).any(1),
                (differences > tukey).any(1),
                (differences > corrected).any(1),
                np.median(corrected, axis=1),
                (np.abs(mean) <= half).mean(1),
                np.abs(pair.mean(1)) <= t * pair.std(1, ddof=1),
            ]
        )
    columns = np.concatenate([np.array(part, float) for part in found], axis=1)
    return Rates(*map(float, columns.mean(1)))


def row(setting: Setting, rates: Rates) -> str:
    """One line of the table."""
    named = (f"{100 * rate:.1f} %" for rate in rates[:4])
    held = (f"{100 * rate:.1f} %" for rate in rates[5:])
    return f"| {' | '.join([*map(str, setting), *named, f'{rates.half:.1f}', *held])} |"


if __name__ == "__main__":
    print(f"| {' | '.join(HEADER)} |\n| ---: | ---: | --- |{' ---: |' * 7}")
    for each in SETTINGS:
        print(row(each, simulate(each, TABLES)), flush=True)
