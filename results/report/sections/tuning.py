"""Tuning: what it gained on the test split, and accuracy as a function of the number of trials."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from results.analysis.tables import records
from results.analysis.tuning import (
    PLACE_KEYS,
    ROUNDING,
    best_within,
    chosen_trial,
    compare_tuned,
    drawn_values,
    has_ended,
    importance,
    rank_changes,
    regret,
)
from results.names import BASELINES
from results.report.section import MISSING, Cell, Column, Row, Section, Table
from results.report.sections import register_section
from results.report.text import TIED, format_number, format_scaled
from results.tuning import describe_edges

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from results.analysis.tuning import TunedComparison
    from results.report.data import ReportData
    from results.tuning import MethodSearch, Search

GAINS = (
    "Accuracy in percent on the test split, mean over the seeds that both have, and what tuning gained: mean ± "
    "half-width of the interval of the paired difference (seeds). All intervals hold together, with 95 %."
)
TRIALS = (
    "Trials on held-out training images, accuracy in percent. Default is the protocol's own setting, trial 0; best the "
    "chosen one. Median, collapsed (share) and sound (mean of those that neither failed nor collapsed) are over the "
    "drawn trials, and tell how much a method depends on its setting."
)
BUDGET = (
    "Expected highest accuracy in percent of n drawn trials, the default left out: the mean over all subsets of n "
    "(Dodge et al. 2019). In brackets the bootstrap's band over trials, up to a third of their number: nominally 95 %, "
    "it holds the truth less often."
)
COMPUTE = (
    "Expected highest accuracy in percent, as above, of as many drawn trials of each method as the same floating-point "
    "operations pay for (of so many trials). Trials of the methods differ in what they cost."
)
IMPORTANCE = (
    "Share of the variance over a method's drawn trials that one hyper-parameter explains by itself: adjusted R² of a "
    "parabola in its position within the range, or of a mean per choice. Interactions are in none of them."
)
REGRET = (
    "Points of held-out accuracy that are lost by choosing the trial without labels, by the lowest loss of the last "
    "epoch or the highest RankMe, instead of by accuracy."
)


@register_section(position=30)
def tuning(data: ReportData) -> Iterator[Section]:
    """One section for every search, and one for every tuned protocol."""
    for comparison in compare_tuned(data.frames):
        if len(comparison.gains):
            yield gains_section(comparison)
    for name, search in data.frames.tuning.searches.items():
        yield search_section(name, search, data)


def gains_section(comparison: TunedComparison) -> Section:
    """Default, tuned and gain of every method."""
    column = comparison.column
    tables, notes = [], []
    for number, (key, rows) in enumerate(comparison.gains.groupby(PLACE_KEYS, sort=False), start=1):
        dataset, evaluated_on, backbone, evaluation, metric = map(str, key)
        where = dataset if dataset == evaluated_on else f"{dataset} → {evaluated_on}"
        measure = evaluation if metric == "top1" else f"{evaluation} {metric}"
        lines = []
        for row in records(rows.sort_values("tuned", ascending=False, kind="stable")):
            half = None if math.isnan(row["high"]) else row["high"] - row["mean"]
            tied = TIED if half is None or abs(row["mean"]) <= half else ""
            gain = Cell(format_number(row["mean"], half, signed=True), f"({row['n']})", tied)
            lines.append(
                Row((row["method"],), (Cell(format_number(row["default"])), Cell(format_number(row["tuned"])), gain))
            )
        tables.append(
            Table(
                name=f"tuned-{column.protocol}-{number}",
                names=("method",),
                columns=(Column("default"), Column("tuned"), Column("gain")),
                rows=tuple(lines),
                title=f"{where} · {backbone} · {measure}",
                caption=GAINS,
                notes=(f"{TIED} no difference beyond the noise: the interval includes 0, or there is none.",),
            )
        )
        tau = comparison.rank_correlation[(dataset, evaluated_on, backbone, evaluation, metric)]
        if not math.isnan(tau):
            notes.append(f"{where}, {measure}: Kendall's tau of the default and the tuned order is {tau:.2f}.")
    text = f"{column.base}: settings as the protocol has them, and the best of {column.count} trials of each method."
    return Section(
        name=f"tuned-{column.protocol}",
        title=f"Tuned and default: {column.label}",
        text=text,
        notes=tuple(notes),
        tables=tuple(tables),
        frames={f"tuned-{column.protocol}": comparison.gains},
    )


def search_section(name: str, search: Search, data: ReportData) -> Section:
    """The trials of every method, the curve of the best of n, importance and regret."""
    trials, curves = data.trials[name], data.tuning_curves[name]
    title = f"Trials: {search.dataset} · {search.backbone} · {search.protocol} · {search.evaluation}"
    tables = [trials_table(name, search, trials)]
    if len(curves):
        tables += [
            budget_table(name, curves),
            *compute_tables(name, curves),
            importance_table(name, search, trials),
            regret_table(name, search, trials),
        ]
    return Section(
        name=f"trials-{name}",
        title=title,
        text=describe_search(search),
        notes=(*edges(search, trials), *describe_ranks(curves)),
        tables=tuple(tables),
        problems=tuple(problem_lines(search, trials)),
        figures=data.figures_of(name, title, list(search.methods)),
        frames={f"{name}-trials": trials_frame(search, trials), f"{name}-best-of-n": curves},
    )


def trials_frame(search: Search, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with their settings as text."""
    settings = [
        describe_setting(search.methods[method], index)
        for method, index in zip(trials["method"], trials["trial"], strict=True)
    ]
    return trials.assign(setting=settings)


def describe_search(search: Search) -> str:
    """How the settings were drawn and judged, as a sentence."""
    counts = sorted({len(one.trials) for one in search.methods.values()})
    words = " or ".join(map(str, counts))
    seeds = ", ".join(map(str, search.seeds))
    equal = (
        "" if len(counts) == 1 else " Methods have different numbers of trials: only the best at equal compute is fair."
    )
    sizes = {method: len(one.space) for method, one in search.methods.items()}
    same = {*sizes.values()}
    dimensions = (
        f"{same.pop()} hyper-parameters each"
        if len(same) == 1
        else f"hyper-parameters: {', '.join(f'{method} {size}' for method, size in sizes.items())}"
    )
    return (
        f"{words} trials of each method ({dimensions}; {describe_sampler(search)}), judged by {search.evaluation} on "
        f"held-out training images of {search.dataset}, seed{'s' * (len(search.seeds) > 1)} {seeds}. "
        f"The test split was not read.{equal}"
    )


def describe_sampler(search: Search) -> str:
    """What drew the settings, and how many of them were tried for how long."""
    words = {"sobol": "a Sobol sequence", "tpe": "TPE, whose best of n is that of its first n trials"}
    halving = f", successive halving by {search.halving}: only the last have the whole budget" if search.halving else ""
    return f"{words.get(search.sampler, search.sampler)}{halving}"


def trials_table(name: str, search: Search, trials: pd.DataFrame) -> Table:
    """Default, best and spread of every method's trials."""
    header = ("trials", "default", "best", "median", "collapsed", "sound", "chosen setting")
    rows = {}
    for method, one in search.methods.items():
        of_method = trials[trials["method"] == method]
        drawn, values = of_method[(of_method["trial"] > 0) & has_ended(of_method)], drawn_values(of_method)
        chosen = chosen_trial(of_method)
        sound = drawn.loc[~drawn["collapsed"], "value"].mean()
        median = sorted(values)[len(values) // 2] if len(values) else math.nan
        if search.halving:
            sound = median = math.nan  # those with the whole budget were chosen
        best = math.nan if chosen is None else of_method.loc[of_method["trial"] == chosen, "value"].iloc[0]
        numbers = [of_method.loc[of_method["trial"] == 0, "value"].iloc[0], best, median]
        cells = [
            Cell(f"{int(of_method['value'].notna().sum())}"),
            *(number_cell(value) for value in numbers),
            Cell(f"{100 * drawn['collapsed'].mean():.0f} %" if len(drawn) else MISSING),
            number_cell(sound),
            Cell(MISSING if chosen is None else describe_setting(one, chosen)),
        ]
        rows[method] = (best, Row((method,), tuple(cells), BASELINES.get(method, "")))
    ordered = sorted(rows.values(), key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0], reverse=True)
    columns = tuple(Column(text, is_number=text != "chosen setting") for text in header)
    return Table(f"{name}-trials", ("method",), columns, tuple(row for _, row in ordered), caption=TRIALS)


def number_cell(value: float) -> Cell:
    """A number with two digits; a dash for none."""
    return Cell(MISSING if math.isnan(value) else format_number(value))


def describe_setting(one: MethodSearch, index: int) -> str:
    """The values of a trial: ``lr=0.003, temperature=0.2``."""
    setting = one.trials[index].setting
    values = [
        f"{target.removeprefix('pretrain.').removeprefix('recipes.')}={value}" for target, value in setting.items()
    ]
    return ", ".join(values) or "the default"


def budget_table(name: str, curves: pd.DataFrame) -> Table:
    """Expected best of 1, 2, 4, … trials."""
    last = int(curves["n"].max())
    shown = [n for n in (2**k for k in range(20)) if n < last] + [last]
    rows = []
    order = curves.groupby("method")["mean"].max().sort_values(ascending=False, kind="stable").index
    for method in order:
        by_n = curves[curves["method"] == method].set_index("n")
        cells = [describe_best(by_n.loc[n]) if n in by_n.index else None for n in shown]
        rows.append(Row((str(method),), tuple(cells)))
    columns = tuple(Column(f"n = {n}") for n in shown)
    return Table(f"{name}-budget", ("method",), columns, tuple(rows), title="Best of n trials", caption=BUDGET)


def compute_tables(name: str, curves: pd.DataFrame) -> Iterator[Table]:
    """Expected best of as many trials as the same compute pays for, where trials of the methods differ in it."""
    of_trial, found = curves.loc[curves["n"] == 1, "flops"], best_within(curves)
    if found.empty or of_trial.max() <= ROUNDING * of_trial.min():
        return
    amounts = sorted(found["compute"].unique())
    last = found[found["compute"] == amounts[-1]].sort_values("mean", ascending=False, kind="stable")
    rows = []
    for method in last["method"]:
        by_amount = found[found["method"] == method].set_index("compute")
        cells = [describe_best(by_amount.loc[amount], of=f"of {by_amount.loc[amount, 'n']}") for amount in amounts]
        rows.append(Row((str(method),), tuple(cells)))
    columns = tuple(Column(f"{format_scaled(amount)} FLOPs") for amount in amounts)
    yield Table(f"{name}-compute", ("method",), columns, tuple(rows), title="Best at equal compute", caption=COMPUTE)


def describe_best(row: pd.Series[Any], of: str = "") -> Cell:
    """``61.20 [58.10, 64.00]``, without the band where there is none; ``of`` stands in its place."""
    band = "" if math.isnan(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return Cell(f"{row['mean']:.2f}", of or band)


def importance_table(name: str, search: Search, trials: pd.DataFrame) -> Table:
    """How much of the variance each hyper-parameter explains."""
    targets = list(dict.fromkeys(target for one in search.methods.values() for target in one.space))
    rows = []
    for method, one in search.methods.items():
        values = trials[trials["method"] == method].sort_values("trial")["value"]
        found = importance(one, list(values))
        cells = [
            None if target not in found else Cell(MISSING if math.isnan(found[target]) else f"{found[target]:.2f}")
            for target in targets
        ]
        rows.append(Row((method,), tuple(cells)))
    columns = tuple(Column(target.removeprefix("pretrain.").removeprefix("recipes.")) for target in targets)
    return Table(f"{name}-importance", ("method",), columns, tuple(rows), title="Importance", caption=IMPORTANCE)


def regret_table(name: str, search: Search, trials: pd.DataFrame) -> Table:
    """What choosing without labels costs."""
    rows = []
    for method in search.methods:
        of_method = trials[trials["method"] == method]
        by_loss, by_rank = regret(of_method, "loss", lowest=True), regret(of_method, "rankme", lowest=False)
        rows.append(Row((method,), (number_cell(by_loss), number_cell(by_rank))))
    columns = (Column("lowest loss"), Column("highest RankMe"))
    return Table(f"{name}-regret", ("method",), columns, tuple(rows), title="Choosing without labels", caption=REGRET)


def edges(search: Search, trials: pd.DataFrame) -> Iterator[str]:
    """A sentence for each chosen value at the edge of its range."""
    for method, one in search.methods.items():
        chosen = chosen_trial(trials[trials["method"] == method])
        if chosen is not None:
            yield from (f"{method}: {sentence}." for sentence in describe_edges(one, chosen))


def describe_ranks(curves: pd.DataFrame) -> Iterator[str]:
    """One sentence on the numbers of trials at which the order of methods changes."""
    changes = rank_changes(curves)
    if len(changes) < 2:
        return
    words = [f"from {n} trials on {', '.join(swapped(before, after))}" for (_, before), (n, after) in pairwise(changes)]
    yield f"The order of methods depends on the number of trials: {'; '.join(words)}."


def swapped(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """What changed between two orders: ``byol is above simclr``."""
    rank: Mapping[Any, int] = {method: level for level, method in enumerate(before)}
    return [
        f"{upper} is above {lower}"
        for level, upper in enumerate(after)
        for lower in after[level + 1 :]
        if rank[upper] > rank[lower]
    ]


def problem_lines(search: Search, trials: pd.DataFrame) -> Iterator[str]:
    """One line for each method with trials that failed, and one for each with trials that have not run to their end."""
    for method in search.methods:
        of_method = trials[trials["method"] == method]
        failed, ended = of_method["failed"] > 0, has_ended(of_method)
        for what, found in (("failed", failed), ("not yet run to their end", ~ended)):
            numbers = of_method.loc[found, "trial"]
            if len(numbers):
                some = ", ".join(map(str, numbers.head(8))) + (", …" if len(numbers) > 8 else "")
                yield f"{method}: {len(numbers)} of {len(of_method)} trials {what}: {some}"
