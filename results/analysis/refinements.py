"""What refinements change: differences between results with and without them, by the rule that compares methods."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.analysis.multiple_comparisons import compare_all_pairs

if TYPE_CHECKING:
    import pandas as pd

    from results.analysis.multiple_comparisons import AllPairs


def refinement_names(results: pd.DataFrame) -> dict[str, bool]:
    """The stored labels of all refinements, and whether they are transductive; those that are come last."""
    rows = results[results["refinement"] != ""].drop_duplicates("refinement")
    ordered = rows.sort_values("transductive", kind="stable")
    return dict(zip(ordered["refinement"], ordered["transductive"], strict=True))


def values_by_refinement(results: pd.DataFrame, by: str = "method") -> pd.DataFrame:
    """Values of one evaluation: a row per seed and method, a column per refinement, ``""`` for none.

    Args:
        results: of the evaluation, see ``results.analysis.frame.RESULT_COLUMNS``.
        by: ``method``, or ``pretraining`` for the mean of the methods that are one pretraining.
    """
    return results.pivot_table(index=["seed", by], columns="refinement", values="value")


@dataclass(frozen=True)
class RefinementDifference:
    """Mean over methods of one refinement minus another.

    Attributes:
        mean: in points.
        half: half the width of its interval over seeds, which holds for all pairs of refinements together; None where
            no two seeds have both.
    """

    mean: float
    half: float | None

    @property
    def is_noise(self) -> bool:
        """Whether the interval includes 0, or there is none."""
        return self.half is None or abs(self.mean) <= self.half


def compare_refinements(values: pd.DataFrame) -> dict[tuple[str, str], RefinementDifference]:
    """Compare refinements by the mean over methods, with seeds as blocks.

    The methods of a pair are those that have both refinements, and its seeds those with which all of these methods were
    run. All refinements of the same methods are compared together (``results.analysis.multiple_comparisons``).

    Args:
        values: see :func:`values_by_refinement`; every method of the index counts once.

    Returns:
        By the names of two refinements the first minus the second; nothing for pairs that no method has.
    """
    in_methods = values.index.get_level_values(1)
    has = values.notna().groupby(in_methods).any()
    compared: dict[frozenset[str], AllPairs] = {}
    found = {}
    for first, second in itertools.permutations(values.columns, 2):
        methods = frozenset(has.index[has[first] & has[second]])
        if not methods:
            continue
        if methods not in compared:
            of_all = has.columns[has.loc[[*methods]].all()]
            seeds = values.loc[in_methods.isin(methods), of_all].groupby("seed")
            compared[methods] = compare_all_pairs(seeds.mean().where(seeds.count() == len(methods)))
        pairs = compared[methods]
        index = pairs.methods.index(first), pairs.methods.index(second)
        if pairs.n[index]:
            half = None if np.isnan(pairs.half[index]) else float(pairs.half[index])
            found[first, second] = RefinementDifference(float(pairs.mean[index]), half)
    return found
