"""What trials of hyper-parameters say: accuracy as a function of their number, sensitivity, and what tuning gained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.analysis.multiple_comparisons import CONFIDENCE
from results.analysis.statistics import Estimate, estimate, half_width
from results.analysis.variants import CELL
from results.names import UNTRAINED
from results.tuning import choose, position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from results.analysis.frame import Frames
    from results.tuning import MethodSearch, Search, TunedColumn

RESAMPLES = 2000
"""Bootstrap samples of a band."""

TRIALS_PER_DRAW = 3
"""A band is given for the best of n where there are three times as many trials; beyond, it would be far too narrow."""

TRIAL_COLUMNS = ["method", "trial", "value", "loss", "rankme", "collapsed", "flops", "done", "failed", "planned"]
CURVE_COLUMNS = ["search", "method", "n", "mean", "low", "high", "default", "flops"]
ROUNDING = 1.02
"""Steps are whole: trials of equal compute differ by less than this factor."""

PLACE_KEYS = ["dataset", "evaluated_on", "backbone", "evaluation", "metric"]
"""What the methods of one table of gains share."""

GAIN_COLUMNS = [*PLACE_KEYS, "method", "default", "tuned", "mean", "low", "high", "n"]


def trial_table(search: Search, frames: Frames) -> pd.DataFrame:
    """A row per trial: ``TRIAL_COLUMNS``.

    ``value`` is the mean over its seeds of the top-1 accuracy that decides, in percent, NaN unless all have finished;
    ``loss`` (of the last epoch), ``rankme`` and ``flops`` are means over seeds too; ``collapsed`` says whether any
    representation has. ``done`` and ``failed`` are numbers of seeds, of those ``planned``. Trial 0 is the default. Of a
    trial that successive halving has stopped none are planned.
    """
    known, results = frames.trials.set_index("run"), frames.trial_results
    results = results[(results["metric"] == "top1") & (results["refinement"] == "")]
    scores = results[results["evaluation"] == search.evaluation].drop_duplicates("run").set_index("run")["value"]
    rows = []
    for method, one in search.methods.items():
        for index, trial in enumerate(one.trials):
            runs = known.reindex(list(trial.runs.values()))
            done = runs[runs["status"] == "done"]
            found = scores.reindex(done.index).dropna()
            whole = len(found) == len(trial.runs) > 0
            means = done[["last_loss", "rankme", "flops"]].mean() if whole else pd.Series(dtype=float)
            rows.append(
                {
                    "method": method,
                    "trial": index,
                    "value": float(np.mean(found)) if whole else math.nan,
                    "loss": means.get("last_loss", math.nan),
                    "rankme": means.get("rankme", math.nan),
                    "collapsed": bool((done["warning"] != "").any()),
                    "flops": means.get("flops", math.nan),
                    "done": len(found),
                    "failed": int((known.reindex(list(trial.folders))["status"] == "failed").sum()),
                    "planned": len(trial.runs),
                }
            )
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS)


def expected_best(values: ArrayLike) -> NDArray[np.float64]:
    """Expected highest of n values drawn without replacement, for every n from 1 to their number (Dodge et al. 2019).

    The mean over all subsets of n trials, and so unbiased for the best of n independent ones. With the values in rising
    order the i-th is the highest of C(i - 1, n - 1) of the C(N, n) subsets.

    Args:
        values: (..., N); sets of trials in the last dimension.

    Returns:
        (..., N); entry n - 1 is that of n trials.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=-1)
    best: NDArray[np.float64] = ordered @ subset_weights(ordered.shape[-1])
    return best


def subset_weights(count: int) -> NDArray[np.float64]:
    """The share of subsets of n (columns) of N values of which the i-th (rows) is the highest; (N, N)."""
    i, n = np.arange(1, count + 1)[:, None], np.arange(1, count + 1)[None, :]
    log_factorial = np.array([math.lgamma(k + 1) for k in range(count + 1)])

    def log_choose(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(log_factorial[a] - log_factorial[b] - log_factorial[np.maximum(a - b, 0)])

    weights = np.where(i >= n, np.exp(log_choose(i - 1, n - 1) - log_choose(np.array(count), n)), 0)
    return np.asarray(weights, dtype=float)


def expected_best_band(values: ArrayLike, *, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nominal 95 % band of :func:`expected_best`: percentiles over bootstrap samples of the trials.

    No sample has a value above the highest trial, so the band is too narrow, and the more so the nearer n is to the
    number of trials; ``results/analysis/README.md`` has how often it holds the truth.
    """
    array = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    resampled = array[rng.integers(len(array), size=(RESAMPLES, len(array)))]
    low, high = np.percentile(expected_best(resampled), [2.5, 97.5], axis=0)
    return low, high


def drawn_values(trials: pd.DataFrame) -> NDArray[np.float64]:
    """The values of one method's trials without the default, and without those that have not run to their end.

    A failed one counts as the lowest finished one.
    """
    values = trials.loc[(trials["trial"] > 0) & has_ended(trials), "value"].to_numpy(float)
    finished = values[~np.isnan(values)]
    return np.where(np.isnan(values), finished.min(), values) if len(finished) else finished


def has_ended(trials: pd.DataFrame) -> pd.Series[bool]:
    """Whether each trial has a value, failed with one of its seeds, or was stopped by successive halving."""
    return trials["value"].notna() | (trials["failed"] > 0) | (trials["planned"] == 0)


def tuning_curves(name: str, search: Search, trials: pd.DataFrame) -> pd.DataFrame:
    """Expected best of n drawn trials of every method, with its band: ``CURVE_COLUMNS``.

    ``low`` and ``high`` are NaN where n is more than a third of the trials. ``flops`` are those of n trials,
    ``default`` is the value of trial 0. TPE's trials are no independent draws: ``mean`` is the best of its first n. A
    search with successive halving has none: those of its trials that have the whole budget were chosen.

    Args:
        name: of the search.
        search: whose trials they are.
        trials: of the search, see :func:`trial_table`.
    """
    rows = []
    for method in () if search.halving else search.methods:
        of_method = trials[trials["method"] == method]
        values = drawn_values(of_method)
        if not len(values):
            continue
        mean, (low, high) = expected_best(values), expected_best_band(values)
        if search.sampler == "tpe":
            mean, low[:], high[:] = np.maximum.accumulate(values), math.nan, math.nan
        low[len(values) // TRIALS_PER_DRAW :] = high[len(values) // TRIALS_PER_DRAW :] = math.nan
        default, flops = of_method.loc[of_method["trial"] == 0, "value"].iloc[0], of_method["flops"].mean()
        rows += [[name, method, n + 1, mean[n], low[n], high[n], default, (n + 1) * flops] for n in range(len(values))]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def best_within(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of a search's curves at equal compute: one for each method and amount, which is the column ``compute``.

    The amounts are what a trial of the most expensive method takes, twice as much, four times, as far as the trials of
    every method go. A method has as many trials as they pay for.

    Args:
        curves: of one search, see :func:`tuning_curves`.
    """
    rows: list[pd.DataFrame] = []
    of_trial = curves[curves["n"] == 1].set_index("method")["flops"]
    end = curves.groupby("method")["flops"].max().min() if len(curves) else 0.0
    compute = of_trial.max() if len(curves) else math.nan
    while compute <= end * ROUNDING:
        affordable = curves[curves["flops"] <= compute * ROUNDING]
        rows.append(affordable.loc[affordable.groupby("method")["n"].idxmax()].assign(compute=compute))
        compute *= 2
    return pd.concat(rows, ignore_index=True) if rows else curves.head(0).assign(compute=[])


def rank_changes(curves: pd.DataFrame) -> list[tuple[int, tuple[str, ...]]]:
    """The numbers of trials from which on the methods are in another order, each with the order, best first."""
    changes: list[tuple[int, tuple[str, ...]]] = []
    common = curves.groupby("method")["n"].max().min() if len(curves) else 0
    for n, rows in curves[curves["n"] <= common].groupby("n"):
        order = tuple(rows.sort_values("mean", ascending=False, kind="stable")["method"])
        if not changes or changes[-1][1] != order:
            changes.append((int(str(n)), order))
    return changes


def importance(one: MethodSearch, values: Sequence[float]) -> dict[str, float]:
    """How much of the variance over a method's drawn trials one hyper-parameter explains by itself, 0 to 1.

    The adjusted R² of a parabola in the position within its range, or of a mean for each choice; 0 where that is
    negative. Interactions are in none of them. With few trials it is rough.

    Args:
        one: the method's search.
        values: of all its trials, the default first; NaN for those that failed, which are left out.
    """
    y = np.asarray(values[1:], dtype=float)
    is_known = ~np.isnan(y)
    y, settings = y[is_known], [trial.setting for trial, keep in zip(one.trials[1:], is_known, strict=True) if keep]
    found = {}
    for target, table in one.space.items():
        ((scale, bounds),) = table.items()
        chosen = [setting.get(target) for setting in settings]
        if scale == "choice":
            design = np.array([[value == bound for bound in bounds] for value in chosen], dtype=float)
        else:
            x = np.array([position(table, value) for value in chosen])
            design = np.vander(x - x.mean(), 3) if len(x) else np.zeros((0, 3))
        found[target] = adjusted_r2(design, y)
    return found


def adjusted_r2(design: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Adjusted R² of a least-squares fit, not below 0; NaN where too few values are left or all are equal."""
    total = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
    rank = int(np.linalg.matrix_rank(design)) if design.size else 0
    if len(y) <= rank or total == 0:
        return math.nan
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return max(0.0, 1 - (float((residual**2).sum()) / (len(y) - rank)) / (total / (len(y) - 1)))


def regret(trials: pd.DataFrame, criterion: str, *, lowest: bool) -> float:
    """Points of held-out accuracy that are lost by choosing without labels: the best trial's minus the chosen one's.

    Args:
        trials: of one method, see :func:`trial_table`.
        criterion: column that chooses.
        lowest: whether its lowest value is taken, else the highest.
    """
    known = trials.dropna(subset=["value", criterion])
    if known.empty:
        return math.nan
    order = known[criterion].to_numpy(float)
    chosen = int(order.argmin() if lowest else order.argmax())
    return float(trials["value"].max() - known["value"].iloc[chosen])


@dataclass(frozen=True)
class TunedComparison:
    """A tuned protocol beside the default one.

    Attributes:
        column: the tuned protocol.
        gains: a row per cell that both have: ``GAIN_COLUMNS``; ``mean`` is tuned minus default in points, paired over
            the seeds that both have. The intervals of all methods of a table hold together, with 95 %: Student's t,
            corrected by Bonferroni for the methods that took another setting.
        rank_correlation: Kendall's tau of the methods' means, by ``PLACE_KEYS``.
    """

    column: TunedColumn
    gains: pd.DataFrame
    rank_correlation: Mapping[tuple[Any, ...], float]


def compare_tuned(frames: Frames) -> Iterator[TunedComparison]:
    """Every tuned protocol beside the one that was tuned, without refinement and without baselines below."""
    unrefined = frames.unrefined[~frames.unrefined["baseline"].isin(UNTRAINED)]
    for column in frames.tuning.columns.values():
        tuned = unrefined[unrefined["protocol"] == column.label]
        default = unrefined[unrefined["protocol"] == column.base]
        keys = [key for key in CELL if key not in ("protocol", "version", "fairness")]
        both = tuned[[*keys, "seed", "value"]].merge(default[[*keys, "seed", "value"]], on=[*keys, "seed"])
        rows: list[dict[str, Any]] = []
        for key, cell in both.groupby(keys, sort=False):
            cell_keys: dict[str, Any] = dict(zip(keys, key, strict=True))
            gain: Estimate = estimate(cell["value_x"] - cell["value_y"])
            means = {"default": cell["value_y"].mean(), "tuned": cell["value_x"].mean()}
            rows.append({**cell_keys, **means, "mean": gain.mean, "std": gain.std, "n": gain.n})
        gains = with_joint_intervals(
            pd.DataFrame(rows, columns=[*PLACE_KEYS, "method", "default", "tuned", "mean", "std", "n"])
        )
        taus = {
            tuple(key): kendall_tau(cell["default"].to_numpy(float), cell["tuned"].to_numpy(float))
            for key, cell in gains.groupby(PLACE_KEYS, sort=False)
        }
        yield TunedComparison(column, gains, taus)


def with_joint_intervals(gains: pd.DataFrame) -> pd.DataFrame:
    """``GAIN_COLUMNS`` of rows of ``mean``, ``std`` and ``n``; see :class:`TunedComparison`."""
    changed = gains["std"].ne(0) | gains["mean"].ne(0)
    compared = changed.groupby([gains[key] for key in PLACE_KEYS]).transform("sum").clip(lower=1).to_numpy(float)
    half = half_width(gains["std"].to_numpy(float), gains["n"].to_numpy(int), 1 - (1 - CONFIDENCE) / compared)
    return gains.assign(low=gains["mean"] - half, high=gains["mean"] + half)[GAIN_COLUMNS]


def kendall_tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two lists of numbers; NaN for fewer than two, or if all of one are equal."""
    if len(first) < 2:
        return math.nan
    a = np.sign(first[:, None] - first[None, :])
    b = np.sign(second[:, None] - second[None, :])
    norm = math.sqrt(float((a != 0).sum()) * float((b != 0).sum()))
    return float((a * b).sum()) / norm if norm else math.nan


def chosen_trial(trials: pd.DataFrame) -> int | None:
    """The trial of one method that is chosen, by the rule of ``results.tuning.choose``."""
    values = trials.sort_values("trial")["value"]
    return choose([None if math.isnan(value) else float(value) for value in values])
