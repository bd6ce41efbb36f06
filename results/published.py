"""What papers report, beside what was measured here, with a verdict per number.

The numbers lie in ``published/*.csv``, a row per published number:

source, table   where it stands; the rows of a table are in its order
row, column     what they are called there
method          label of the method that corresponds to it here; likewise protocol and evaluation, with the changes in
                brackets that would reproduce it; no protocol means that none of ours has its conditions
dataset         what it was pretrained on; ``evaluated_on``, ``backbone`` and ``metric`` as in a record; the metric
                ``top1 over a[b=1]`` is the gain in top1 over the method with that label, or over that backbone, and
                ``top1 over the best other method`` that of a refined method over all others as they are; it may lack
                a backbone, which then matches any
epochs          length of pretraining under its protocol, if that is known
value, std      mean and standard deviation in percent (whether over n or n - 1 is not stated), of ``seeds`` trials
conditions      why it cannot be compared even with a run of that protocol; empty if it can
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.setups import CELL
from results.statistics import best_trials, differences, paired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from results.frame import Frames

    Row = dict[Any, Any]

PUBLISHED = Path(__file__).parent / "published"

SAME_IMAGES = {"cifar100-20": "cifar100"}
"""Data sets that share their images with another and differ in labels only."""

UNTRAINED = "random"
"""The method that nothing of pretraining matters to."""

PLACE = ["name", "variant", "images", "backbone", "evaluated_on", "measure", "metric"]
"""What a measured and a published number must share to stand side by side."""

PREFIXED = ["method", "dataset", "protocol", "evaluation", "epochs", "conditions"]
"""Columns of a published number that are prefixed beside a measured one."""

COMPARISON_COLUMNS = [
    *["source", "table", "row", "column", "published", "published_std", "published_seeds"],
    *["method", "dataset", "evaluated_on", "backbone", "protocol", "evaluation", "metric"],
    *["mean", "low", "high", "n", "difference", "verdict"],
]

BUDGET = ("epochs", "views")
OVER = " over "
BEST = "the best other method"
WITHIN = "within interval"


def load() -> pd.DataFrame:
    """Every published number, in the order of the tables."""
    files = [pd.read_csv(path, keep_default_na=False) for path in sorted(PUBLISHED.glob("*.csv"))]
    rows = pd.concat(files, ignore_index=True)
    numbers = ["value", "std", "seeds", "epochs"]
    return rows.assign(**{key: pd.to_numeric(rows[key]) for key in numbers})


def compare(
    frames: Frames, summary: pd.DataFrame, published: pd.DataFrame, absent: Callable[[str], bool]
) -> pd.DataFrame:
    """Every published number beside every cell that measures the same, or alone if none does.

    Args:
        frames: all runs.
        summary: what ``results.statistics.summarize`` makes of them.
        published: what :func:`load` returned.
        absent: whether a data set, by its name, is not on this machine; of those that no run has used.

    Returns:
        ``COMPARISON_COLUMNS`` in percent, ``difference`` being measured minus published, and further columns: those of
        ``summary``, ``PREFIXED`` of the published number under names that begin with ``their_``, and ``PLACE``. Of the
        cells that stand beside one number the nearest in its conditions comes first.
    """
    names = {"value": "published", "std": "published_std", "seeds": "published_seeds"}
    theirs = placed(published).rename(columns=names | {key: f"their_{key}" for key in PREFIXED})
    measured_gains = [gains(frames.results, summary, published), *leads(frames, summary, published)]
    ours = pd.concat([summary, *measured_gains], ignore_index=True)
    pairs = theirs.assign(number=range(len(theirs))).merge(twice(placed(ours)), on=PLACE, how="left")
    measured = pairs["mean"].notna()
    for key in ("method", "dataset", "protocol", "evaluation"):
        pairs[key] = pairs[key].where(measured, pairs[f"their_{key}"])
    why = dict(unmeasured(pairs[~measured], frames, absent))
    judged = [(0, why[i]) if i in why else judge(row) for i, row in enumerate(pairs.to_dict("records"))]
    return nearest_first(
        pairs.assign(
            difference=pairs["mean"] - pairs["published"],
            verdict=[verdict for _, verdict in judged],
            obstacles=[obstacles for obstacles, _ in judged],
        )
    )


def nearest_first(pairs: pd.DataFrame) -> pd.DataFrame:
    """Sorted, of the cells beside one number those under its protocol, with few differences and long training first."""
    foreign = pairs["protocol"].map(base) != pairs["their_protocol"].map(base)
    order = {"number": True, "foreign": True, "obstacles": True, "views": False, "n": False}
    ordered = pairs.assign(foreign=foreign).sort_values(list(order), ascending=list(order.values()), kind="stable")
    return ordered.reset_index(drop=True)


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """With the columns of ``PLACE``: labels without their changes, data sets by their images, none if it is no matter.

    The variant is the whole label of a method that was changed, or is one of several in a series.
    """
    name, label = rows["method"].map(base), rows["method"].str.replace(r"\{.*", "", regex=True)
    images = rows["dataset"].replace(SAME_IMAGES).where(name != UNTRAINED, "")
    is_variant = (label != name) | rows["metric"].str.contains(OVER, regex=False)
    measure = rows["evaluation"].map(base)
    return rows.assign(name=name, variant=label.where(is_variant, ""), images=images, measure=measure)


def twice(ours: pd.DataFrame) -> pd.DataFrame:
    """Placed cells, and the variants among them as cells of the plain method too, which differ in their conditions.

    Gains over the best other method also stand as cells of no backbone.
    """
    plain = ours[ours["variant"] != ""].assign(variant="")
    nowhere = plain[plain["metric"].str.endswith(BEST)].assign(backbone="", variant=lambda rows: rows["name"])
    return pd.concat([ours, plain, nowhere], ignore_index=True)


def gains(results: pd.DataFrame, summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Rows of a summary for the published metrics that are gains: paired over the seeds that both setups have."""
    references = {metric.partition(OVER)[2] for metric in published["metric"]}
    methods, backbones = (sorted(references & {*results[key]}) for key in ("method", "backbone"))
    over = {one: differences(results[results["method"].map(base) == base(one)], one) for one in methods}
    over |= {one: swapped(differences(swapped(results), one)) for one in backbones}
    found = [pd.DataFrame(columns=[*CELL, "mean", "n", "low", "high", "views", "budget"])]
    for reference, gain in over.items():
        of_both = gain.merge(summary[[*CELL, "views", "budget"]], on=CELL)
        found.append(of_both.assign(metric=of_both["metric"] + OVER + reference))
    return pd.concat([rows for rows in found if len(rows)] or found)


def leads(frames: Frames, summary: pd.DataFrame, published: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of a summary: what refined methods gain over the best of all others as they are, paired over seeds."""
    for method in published.loc[published["metric"].str.endswith(OVER + BEST), "method"].unique():
        own = frames.refined[frames.refined["method"].map(base) == method]
        others = frames.results[frames.results["method"].map(base) != method]
        if others.empty:
            continue
        for refinement, trials in own.groupby("refinement"):
            gain = paired(trials, best_trials(others)).merge(summary[[*CELL, "views", "budget"]], on=CELL)
            words = {"evaluation": gain["evaluation"] + f" after {refinement}", "metric": gain["metric"] + OVER + BEST}
            yield gain.assign(**words)


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    """With methods and backbones in each other's place, so that what compares methods compares backbones."""
    return rows.rename(columns={"method": "backbone", "backbone": "method"})


def named(reference: str) -> str:
    """What a gain counts from: ``views=2`` for the label a[views=2], else all of it."""
    return ", ".join(changed(reference)) or reference


def unmeasured(rows: pd.DataFrame, frames: Frames, absent: Callable[[str], bool]) -> Iterator[tuple[Any, str]]:
    """For each published number that stands alone, by its index, the reason."""
    keys = ["method", "images", "backbone", "base"]
    used = {*frames.runs["dataset"], *frames.results["evaluated_on"]}
    known = placed(frames.runs.dropna(subset=["method"]).assign(evaluation="", metric=""))
    started: dict[Any, pd.DataFrame] = dict(list(known.assign(base=known["protocol"].map(base)).groupby(keys)))
    missing = {name for name in {*rows["their_dataset"], *rows["evaluated_on"]} - used if absent(name)}
    for index, row in rows.iterrows():
        key = (row["their_method"], row["images"], row["backbone"], base(row["their_protocol"]))
        here = missing.isdisjoint((row["their_dataset"], row["evaluated_on"]))
        yield index, fate(started.get(key), here=here, reference=row["metric"].partition(OVER)[2])


def fate(runs: pd.DataFrame | None, *, here: bool, reference: str) -> str:
    """Why something was not measured.

    Args:
        runs: those of its method; None if there are none.
        here: whether its data sets are on this machine.
        reference: the method it is a gain over, if it is one.
    """
    if runs is not None:
        unhappy = runs[runs["status"] != "done"].sort_values("status")
        if len(unhappy):
            return f"{unhappy['status'].iloc[0]}: {unhappy['reason'].iloc[0]}"
    if not here:
        return "data not here"
    if runs is None:
        return "not run"
    return f"not run: {reference}" if reference else "not evaluated"


def judge(row: Row) -> tuple[int, str]:
    """In how many conditions a measured cell differs from the published number beside it, and what that makes of it.

    Returns:
        The number, and ``within interval``, ``higher``, ``lower``, ``not comparable: …`` or ``no interval (one seed)``;
        higher means that the whole interval of the measured mean lies above the published mean.
    """
    why = obstacles(row)
    if why:
        return len(why), f"not comparable: {', '.join(why)}"
    if row["n"] < 2:
        return 0, "no interval (one seed)"
    if row["low"] <= row["published"] <= row["high"]:
        return 0, WITHIN
    return 0, "higher" if row["mean"] > row["published"] else "lower"


def obstacles(row: Row) -> list[str]:
    """What the conditions of the two numbers differ in, in words."""
    conditions = [row["their_conditions"]] if row["their_conditions"] else []
    if not row["their_protocol"]:
        return [f"protocol {row['protocol']}", f"theirs {'; '.join(conditions)}"]
    if base(row["protocol"]) != base(row["their_protocol"]):
        return [f"protocol {row['protocol']}"]
    ours, theirs = changes(row, ""), changes(row, "their_")
    only_ours = [worded(change, row) for change in ours if change not in theirs]
    only_theirs = [text for of, text in theirs if (of, text) not in ours] + conditions
    return only_ours + [f"theirs {'; '.join(only_theirs)}"] * bool(only_theirs)


def changes(row: Row, whose: str) -> list[tuple[str, str]]:
    """What was changed of protocol, method and evaluation, with which of them; of no training no protocol."""
    keys = ("method", "evaluation") if row["name"] == UNTRAINED else ("protocol", "method", "evaluation")
    return [(key, change) for key in keys for change in changed(row[whose + key])]


def worded(change: tuple[str, str], row: Row) -> str:
    """A change of ours; of the budget beside theirs."""
    of, text = change
    if of != "protocol" or text.partition("=")[0] not in BUDGET:
        return text
    ours, theirs = str(row["budget"]), row["their_epochs"]
    unit = "" if ours.endswith(" epochs") else " epochs"
    return ours if math.isnan(theirs) else f"{ours} instead of {theirs:g}{unit}"


def base(label: str) -> str:
    """The name of a label: of ``a[b=1]{c=2}`` it is a."""
    return re.split(r"[\[{]", label, maxsplit=1)[0]


def changed(label: str) -> list[str]:
    """The changes of a label: of ``a[b=1,c=[2, 3]]{d=4}`` they are b=1, c=[2, 3] and d=4."""
    match = re.fullmatch(r"[^[{]*(?:\[(.*)\])?(?:\{(.*)\})?", label)
    return [change for group in match.groups() if group for change in re.split(r",(?=[\w.]+=)", group)] if match else []
