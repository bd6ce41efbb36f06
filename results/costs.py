"""What every method cost, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

HEADER = ("method", "data", "views", "pretraining", "whole run", "views/s", "operations", "memory", "device")
CAPTION = (
    "Cost of a run, mean over seeds: augmented images seen, time of pretraining and of the whole run, speed of "
    "pretraining, its floating-point operations, peak memory."
)


def lines_of(cells: pd.DataFrame, methods: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells of ``HEADER``, as text, for each data set and method.

    Args:
        cells: rows of a summary.
        methods: in the order of the lines.
    """
    place = {method: number for number, method in enumerate(methods)}
    once = cells.drop_duplicates(["method", "dataset"]).assign(place=cells["method"].map(place))
    ordered = once.sort_values(["dataset", "place"])
    return [
        (
            row["method"],
            row["dataset"],
            scaled(row["views"]),
            duration(row["pretrain_seconds"]),
            duration(row["seconds"]),
            scaled(row["views_per_second"]),
            scaled(row["flops"]),
            f"{row['peak_memory'] / 2**20:.0f} MiB",
            f"{row['device']}, {row['precision']}",
        )
        for row in ordered.to_dict("records")
    ]


def scaled(number: float) -> str:
    """Three digits and a prefix: ``160 k``; an en dash for what is not known."""
    if math.isnan(number):
        return "–"
    power = 0 if number < 1 else min(int(math.log10(number) // 3), 6)
    return f"{number / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}".rstrip()


def duration(seconds: float) -> str:
    """In its natural unit: ``12 s``, ``3.4 min``, ``5.6 h``."""
    if math.isnan(seconds):
        return "–"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"
