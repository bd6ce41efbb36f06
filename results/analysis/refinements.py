"""What refinements change: paired differences between results with and without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.analysis.statistics import Estimate, estimate

if TYPE_CHECKING:
    import pandas as pd


def refinement_names(results: pd.DataFrame) -> dict[str, bool]:
    """The stored labels of all refinements, and whether they are transductive; those that are come last."""
    rows = results[results["refinement"] != ""].drop_duplicates("refinement")
    ordered = rows.sort_values("transductive", kind="stable")
    return dict(zip(ordered["refinement"], ordered["transductive"], strict=True))


def values_by_refinement(results: pd.DataFrame) -> pd.DataFrame:
    """Values of one evaluation: a row per seed and method, a column per refinement, ``""`` for none."""
    return results.pivot_table(index=["seed", "method"], columns="refinement", values="value")


def mean_difference(differences: pd.Series[float]) -> Estimate | None:
    """The mean over methods of differences by seed and method, with its interval over seeds.

    Methods without any difference and seeds that one of the other methods lacks are left out. None if nothing is left.
    """
    by_seed = differences.dropna().unstack("method").dropna().mean(axis=1)
    return estimate(by_seed) if len(by_seed) else None
