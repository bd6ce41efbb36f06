"""Published numbers compared with measured ones: which correspond, under which conditions, and a verdict for each."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.analysis.multiple_comparisons import CONFIDENCE
from results.analysis.statistics import best_results, differences, paired_differences
from results.analysis.variants import CELL
from results.names import BASELINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from results.analysis.frame import Frames

    Pair = dict[Any, Any]

SAME_IMAGES = {"cifar100-20": "cifar100"}
"""Data sets that share their images with another and differ in labels only."""

PAIR_KEYS = ["name", "variant", "images", "backbone", "evaluated_on", "measure", "metric"]
"""What a measured and a published number must share to be compared."""

PREFIXED = ["method", "dataset", "protocol", "evaluation", "epochs", "conditions"]
"""Columns of a published number that bear the prefix ``their_`` beside a measured one."""

COMPARISON_COLUMNS = [
    *["source", "secondary", "table", "row", "column", "published", "published_std", "published_seeds"],
    *["method", "dataset", "evaluated_on", "backbone", "protocol", "evaluation", "metric"],
    *["mean", "low", "high", "n", "difference", "half", "margin", "verdict"],
]

BUDGET = ("epochs", "views", "flops")
OVER = " over "
BEST = "the best other method"
AGREES, DIFFERS, CANNOT_TELL = "agrees", "differs", "cannot tell"
NOT_COMPARABLE = "not comparable"

MARGIN = 0.05
"""Of the accuracy, or of the error if that is less: the difference up to which two numbers agree. 61 % ± 1.95 points,
91 % ± 0.45, 5 % ± 0.25: a fixed number of points would be a third of the error at one end and half the score at the
other."""


def compare(
    frames: Frames, summary: pd.DataFrame, published: pd.DataFrame, absent: Callable[[str], bool]
) -> pd.DataFrame:
    """Every published number beside every cell that measures the same, or alone if none does.

    Args:
        frames: all runs.
        summary: ``results.analysis.statistics.summarize`` of their unrefined results.
        published: what ``results.published.load`` returns.
        absent: whether a data set, by its name, is not on this machine; asked of those that no run has used.

    Returns:
        ``COMPARISON_COLUMNS`` in percent, and further columns: those of ``summary``, ``PREFIXED`` of the published
        number with the prefix ``their_``, and ``PAIR_KEYS``. ``difference`` is measured minus published, ``half`` half
        the width of its interval, ``margin`` what it may be. Of the cells beside one number the nearest in its
        conditions comes first.
    """
    names = {"value": "published", "std": "published_std", "seeds": "published_seeds"}
    theirs = with_pair_keys(published).rename(columns=names | {key: f"their_{key}" for key in PREFIXED})
    gains = [gains_over_references(frames.unrefined, summary, published), *gains_over_best(frames, summary, published)]
    ours = with_cells_without_variant(with_pair_keys(pd.concat([summary, *gains], ignore_index=True)))
    pairs = theirs.assign(number=range(len(theirs))).merge(ours, on=PAIR_KEYS, how="left")
    measured = pairs["mean"].notna()
    for key in ("method", "dataset", "protocol", "evaluation"):
        pairs[key] = pairs[key].where(measured, pairs[f"their_{key}"])
    reasons = dict(unmeasured(pairs[~measured], frames, absent))
    pairs = pairs.assign(
        difference=pairs["mean"] - pairs["published"],
        half=[half_of_difference(pair) for pair in pairs.to_dict("records")],
        margin=MARGIN * np.minimum(pairs["published"].abs(), 100 - pairs["published"].abs()),
    )
    judged = [(0, reasons[i]) if i in reasons else judge(pair) for i, pair in enumerate(pairs.to_dict("records"))]
    pairs = pairs.assign(
        verdict=[verdict for _, verdict in judged],
        obstacles=[obstacles for obstacles, _ in judged],
        other_protocol=pairs["protocol"].map(base_name) != pairs["their_protocol"].map(base_name),
    )
    # Of the cells beside one number those under its protocol, with few differences and long training come first.
    order = {"number": True, "other_protocol": True, "obstacles": True, "views": False, "n": False}
    ordered = pairs.sort_values(list(order), ascending=list(order.values()), kind="stable")
    return ordered.drop(columns="other_protocol").reset_index(drop=True)


def with_pair_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``PAIR_KEYS``: labels without their changes, data sets by their images, none for random weights.

    The variant is the whole label of a method that was changed, or is one of several in a series.
    """
    name, label = rows["method"].map(base_name), rows["method"].str.replace(r"\{.*", "", regex=True)
    images = rows["dataset"].replace(SAME_IMAGES).where(~name.map(is_untrained), "")
    is_variant = (label != name) | rows["metric"].str.contains(OVER, regex=False)
    measure = rows["evaluation"].map(base_name)
    return rows.assign(name=name, variant=label.where(is_variant, ""), images=images, measure=measure)


def is_untrained(name: str) -> bool:
    """Whether a method is random weights, to which pretraining makes no difference; by the name alone."""
    return BASELINES.get(name) == "lower"


def with_cells_without_variant(ours: pd.DataFrame) -> pd.DataFrame:
    """Add the variants once more as cells of the plain method, from which they differ in their conditions.

    Gains over the best other method are also added as cells of no backbone, which some papers do not state.
    """
    without_variant = ours[ours["variant"] != ""].assign(variant="")
    any_backbone = without_variant[without_variant["metric"].str.endswith(BEST)].assign(
        backbone="", variant=lambda rows: rows["name"]
    )
    return pd.concat([ours, without_variant, any_backbone], ignore_index=True)


def gains_over_references(results: pd.DataFrame, summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Rows of a summary for the published metrics that are gains: paired over the seeds that both setups have."""
    references = {metric.partition(OVER)[2] for metric in published["metric"]}
    methods, backbones = (sorted(references & {*results[key]}) for key in ("method", "backbone"))
    # What compares methods compares backbones once the two columns have changed their names.
    swap = {"method": "backbone", "backbone": "method"}
    swapped = results.rename(columns=swap)
    over = {
        label: differences(results[results["method"].map(base_name) == base_name(label)], label) for label in methods
    }
    over |= {label: differences(swapped, label).rename(columns=swap) for label in backbones}
    found = [pd.DataFrame(columns=[*CELL, "mean", "n", "low", "high", "views", "budget"])]
    for reference, gain in over.items():
        of_both = gain.merge(summary[[*CELL, "views", "budget"]], on=CELL)
        found.append(of_both.assign(metric=of_both["metric"] + OVER + reference))
    return pd.concat([rows for rows in found if len(rows)] or found)


def gains_over_best(frames: Frames, summary: pd.DataFrame, published: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of a summary: gains of refined methods over the best of all others without refinement, paired over seeds."""
    for method in published.loc[published["metric"].str.endswith(OVER + BEST), "method"].unique():
        refined = frames.refined[frames.refined["method"].map(base_name) == method]
        others = frames.unrefined[frames.unrefined["method"].map(base_name) != method]
        if others.empty:
            continue
        for refinement, results in refined.groupby("refinement"):
            gain = paired_differences(results, best_results(others)).merge(summary[[*CELL, "views", "budget"]], on=CELL)
            evaluation, metric = gain["evaluation"] + f" after {refinement}", gain["metric"] + OVER + BEST
            yield gain.assign(evaluation=evaluation, metric=metric)


def unmeasured(pairs: pd.DataFrame, frames: Frames, absent: Callable[[str], bool]) -> Iterator[tuple[Any, str]]:
    """The index of each published number that stands alone, and the reason."""
    keys = ["method", "images", "backbone", "base"]
    used = {*frames.runs["dataset"], *frames.results["evaluated_on"]}
    known = with_pair_keys(frames.runs.dropna(subset=["method"]).assign(evaluation="", metric=""))
    started: dict[Any, pd.DataFrame] = dict(list(known.assign(base=known["protocol"].map(base_name)).groupby(keys)))
    missing = {name for name in {*pairs["their_dataset"], *pairs["evaluated_on"]} - used if absent(name)}
    for index, pair in pairs.iterrows():
        key = (pair["their_method"], pair["images"], pair["backbone"], base_name(pair["their_protocol"]))
        present = missing.isdisjoint((pair["their_dataset"], pair["evaluated_on"]))
        yield index, status_reason(started.get(key), present=present, reference=pair["metric"].partition(OVER)[2])


def status_reason(runs: pd.DataFrame | None, *, present: bool, reference: str) -> str:
    """Why something was not measured.

    Args:
        runs: those of its method; None if there are none.
        present: whether its data sets are on this machine.
        reference: the method it is a gain over, if it is one.
    """
    if runs is not None:
        incomplete = runs[runs["status"] != "done"].sort_values("status")
        if len(incomplete):
            return f"{incomplete['status'].iloc[0]}: {incomplete['reason'].iloc[0]}"
    if not present:
        return "data not here"
    if runs is None:
        return "not run"
    return f"not run: {reference}" if reference else "not evaluated"


def half_of_difference(pair: Pair) -> float:
    """Half the width of the 95 % interval of measured minus published, by Welch; NaN from one seed of ours.

    A published number without a standard deviation is taken to be as noisy as ours, one without a number of seeds to
    come from one.
    """
    if not pair["n"] > 1:
        return float("nan")
    from scipy.special import stdtrit

    known = not math.isnan(pair["published_std"])
    seeds = 1 if math.isnan(pair["published_seeds"]) else pair["published_seeds"]
    ours = pair["std"] ** 2 / pair["n"]
    theirs = (pair["published_std"] if known else pair["std"]) ** 2 / seeds
    freedom = pair["n"] - 1
    if known and seeds > 1 and ours + theirs > 0:
        freedom = (ours + theirs) ** 2 / (ours**2 / (pair["n"] - 1) + theirs**2 / (seeds - 1))
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * math.sqrt(ours + theirs))


def judge(pair: Pair) -> tuple[int, str]:
    """In how many conditions a measured cell differs from the published number beside it, and the verdict.

    Returns:
        The number, and one of

        - ``agrees``: the interval of the difference lies within ± the margin, even if it excludes 0;
        - ``differs``: it excludes 0, and does not lie within;
        - ``cannot tell``, with the reason if it is one seed, or random weights, which say nothing of training;
        - ``not comparable: …``, with the conditions.
    """
    different = different_conditions(pair)
    if different:
        return len(different), f"{NOT_COMPARABLE}: {', '.join(different)}"
    if pair["n"] < 2:
        return 0, f"{CANNOT_TELL}: one seed"
    within = abs(pair["difference"]) + pair["half"] <= pair["margin"]
    if abs(pair["difference"]) > pair["half"] and not within:
        return 0, DIFFERS
    if is_untrained(pair["name"]):
        return 0, f"{CANNOT_TELL}: random weights say nothing of training"
    return 0, AGREES if within else CANNOT_TELL


def different_conditions(pair: Pair) -> list[str]:
    """The conditions in which the two numbers differ, in words."""
    conditions = [pair["their_conditions"]] if pair["their_conditions"] else []
    if not pair["their_protocol"]:
        return [f"protocol {pair['protocol']}", f"theirs {'; '.join(conditions)}"]
    if base_name(pair["protocol"]) != base_name(pair["their_protocol"]):
        return [f"protocol {pair['protocol']}"]
    # Which protocol random weights were evaluated under makes no difference.
    keys = ("method", "evaluation") if is_untrained(pair["name"]) else ("protocol", "method", "evaluation")
    ours = [(key, change) for key in keys for change in changes_of(pair[key])]
    theirs = [(key, change) for key in keys for change in changes_of(pair[f"their_{key}"])]
    only_ours = [describe_change(*change, pair) for change in ours if change not in theirs]
    only_theirs = [text for key, text in theirs if (key, text) not in ours] + conditions
    return only_ours + [f"theirs {'; '.join(only_theirs)}"] * bool(only_theirs)


def describe_change(key: str, change: str, pair: Pair) -> str:
    """A change of ours; one of the budget beside theirs: ``20 epochs instead of 200``."""
    if key != "protocol" or change.partition("=")[0] not in BUDGET:
        return change
    ours, theirs = str(pair["budget"]), pair["their_epochs"]
    unit = "" if ours.endswith(" epochs") else " epochs"
    return ours if math.isnan(theirs) else f"{ours} instead of {theirs:g}{unit}"


def base_name(label: str) -> str:
    """The name of a label: of ``a[b=1]{c=2}`` it is a."""
    return re.split(r"[\[{]", label, maxsplit=1)[0]


def changes_of(label: str) -> list[str]:
    """The changes of a label: of ``a[b=1,c=[2, 3]]{d=4}`` they are b=1, c=[2, 3] and d=4."""
    match = re.fullmatch(r"[^[{]*(?:\[(.*)\])?(?:\{(.*)\})?", label)
    return [change for group in match.groups() if group for change in re.split(r",(?=[\w.]+=)", group)] if match else []


def reference_name(reference: str) -> str:
    """What a gain is counted from: ``views=2`` for the label ``a[views=2]``, else the label itself."""
    return ", ".join(changes_of(reference)) or reference
