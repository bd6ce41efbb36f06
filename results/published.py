"""What papers report, beside what was measured here, with a verdict per cell.

The numbers lie in ``published/*.csv``, a row per published number:

source, table   where it stands
row             what it is called there
method          label of the method that corresponds to it here; likewise protocol and evaluation, with the changes in
                brackets that would reproduce it; no protocol means that none of ours has its conditions
dataset         what it was pretrained on; ``evaluated_on``, ``backbone`` and ``metric`` as in a record
value, std      mean and standard deviation in percent (whether over n or n - 1 is not stated), of ``seeds`` trials
conditions      why it cannot be compared even with a run of that protocol; empty if it can
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

PUBLISHED = Path(__file__).parent / "published"

SAME_IMAGES = {"cifar100-20": "cifar100"}
"""Data sets that share their images with another and differ in labels only."""

PLACE = ["name", "images", "backbone", "evaluated_on", "measure", "metric"]
"""What a measured and a published number must share to stand side by side."""

COMPARISON_COLUMNS = [
    *["method", "dataset", "evaluated_on", "backbone", "protocol", "evaluation", "metric"],
    *["mean", "low", "high", "n", "published", "published_std", "published_seeds", "difference", "verdict", "source"],
]

TITLE = "Published beside measured"
CAPTION = (
    "Accuracy in percent. Measured: mean ± half-width of the 95 % interval. Published: mean ± standard deviation. "
    "Difference: measured − published, in points. Where the conditions agree, the verdict says whether the published "
    "mean lies within the measured interval, or the interval lies higher or lower."
)
HEADER = ("method", "data", "evaluation", "measured", "published", "difference", "verdict", "source")


def load() -> pd.DataFrame:
    """Every published number; one that several tables repeat is one row.

    Returns:
        The columns of the files, with ``source`` and ``table`` joined in ``source``.
    """
    files = [pd.read_csv(path, keep_default_na=False) for path in sorted(PUBLISHED.glob("*.csv"))]
    rows = pd.concat(files, ignore_index=True)
    for key in ("value", "std", "seeds"):
        rows[key] = pd.to_numeric(rows[key])
    same = ["source", "method", "dataset", "backbone", "evaluated_on", "protocol", "evaluation", "metric", "conditions"]
    merged = rows.groupby([*same, "value"], sort=False)
    rows = merged.agg(std=("std", "first"), seeds=("seeds", "first"), table=("table", "; ".join)).reset_index()
    return rows.assign(source=rows["source"] + ", " + rows["table"])


def compare(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Every published number beside every cell that measures the same, or alone if none does.

    Args:
        summary: what ``results.statistics.summarize`` returned.
        published: what :func:`load` returned.

    Returns:
        ``COMPARISON_COLUMNS`` in percent; ``difference`` is measured minus published.
    """
    theirs = placed(published).rename(columns=lambda key: key if key in PLACE else f"their_{key}")
    pairs = theirs.merge(placed(summary), on=PLACE, how="left")
    measured = pairs["mean"].notna()
    for key in ("method", "dataset", "protocol", "evaluation"):
        pairs[key] = pairs[key].where(measured, pairs[f"their_{key}"])
    return pairs.assign(
        published=pairs["their_value"],
        published_std=pairs["their_std"],
        published_seeds=pairs["their_seeds"],
        difference=pairs["mean"] - pairs["their_value"],
        verdict=[verdict(row) for row in pairs.to_dict("records")],
        source=pairs["their_source"],
    )[COMPARISON_COLUMNS]


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """With the columns of ``PLACE``: labels without their changes, data sets by their images."""
    return rows.assign(
        name=rows["method"].str.replace(r"[\[{].*", "", regex=True),
        images=rows["dataset"].replace(SAME_IMAGES),
        measure=rows["evaluation"].str.replace(r"\[.*", "", regex=True),
    )


def verdict(row: dict[Any, Any]) -> str:
    """``within interval``, ``higher``, ``lower``, ``not comparable: …``, ``no interval (one seed)``, ``not measured``.

    Higher means that the whole interval of the measured mean lies above the published mean.

    Args:
        row: a measured cell, and the published one under keys that begin with ``their_``.
    """
    if pd.isna(row["mean"]):
        return "not measured"
    why = obstacles(row)
    if why:
        return f"not comparable: {', '.join(why)}"
    if row["n"] < 2:
        return "no interval (one seed)"
    if row["low"] <= row["their_value"] <= row["high"]:
        return "within interval"
    return "higher" if row["mean"] > row["their_value"] else "lower"


def obstacles(row: dict[Any, Any]) -> list[str]:
    """What the conditions of the two numbers differ in, in words."""
    conditions = [row["their_conditions"]] if row["their_conditions"] else []
    if not row["their_protocol"]:
        return [f"protocol {row['protocol']}", f"theirs {'; '.join(conditions)}"]
    if parts(row["protocol"])[0] != parts(row["their_protocol"])[0]:
        return [f"protocol {row['protocol']}"]
    ours, theirs = changes(row, ""), changes(row, "their_")
    only_ours = [change for change in ours if change not in theirs]
    only_theirs = [change for change in theirs if change not in ours] + conditions
    return only_ours + [f"theirs {'; '.join(only_theirs)}"] * bool(only_theirs)


def changes(row: dict[Any, Any], whose: str) -> list[str]:
    """What was changed of protocol, method and evaluation."""
    return [change for key in ("protocol", "method", "evaluation") for change in parts(row[whose + key])[1]]


def parts(label: str) -> tuple[str, list[str]]:
    """The name and the changes of a label: ``a[b=1,c=[2, 3]]{d=4}`` is a and b=1, c=[2, 3], d=4."""
    match = re.fullmatch(r"([^[{]*)(?:\[(.*)\])?(?:\{(.*)\})?", label)
    name, *groups = match.groups() if match else (label,)
    return name, [change for group in groups if group for change in re.split(r",(?=[\w.]+=)", group)]


def lines_of(comparison: pd.DataFrame) -> list[tuple[str, ...]]:
    """The cells of ``HEADER``, as text, for each row of ``COMPARISON_COLUMNS``."""
    return [
        (
            row["method"],
            where(row),
            row["evaluation"] if row["metric"] == "top1" else f"{row['evaluation']} {row['metric']}",
            spread(row["mean"], (row["high"] - row["low"]) / 2),
            spread(row["published"], row["published_std"]),
            "–" if math.isnan(row["difference"]) else f"{row['difference']:+.2f}".replace("-", "−"),
            row["verdict"],
            row["source"],
        )
        for row in comparison.to_dict("records")
    ]


def where(row: dict[Any, Any]) -> str:
    """Data sets and backbone."""
    evaluated = "" if row["dataset"] == row["evaluated_on"] else f"→ {row['evaluated_on']} "
    return f"{row['dataset']} {evaluated}{row['backbone']}".strip()


def spread(mean: float, deviation: float) -> str:
    """``61.03 ± 0.23``, as far as it is known."""
    if math.isnan(mean):
        return "–"
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def nearby(comparison: pd.DataFrame) -> pd.DataFrame:
    """The measured rows, and those not measured that share backbone and evaluation data set with a measured one."""
    measured = comparison["mean"].notna()
    place = comparison["backbone"] + " " + comparison["evaluated_on"]
    return comparison[measured | place.isin(place[measured])].reset_index(drop=True)
