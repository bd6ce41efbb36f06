"""The one place where stored names meet the names that the code and every display use.

Records, hashes and protocol files are a format: what they call something never changes, so that old runs stay valid.
Where a name turned out badly, the code and the displays use a better one, and this module maps between the two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Baseline = Literal["upper", "lower", ""]
"""``upper``: supervised training; ``lower``: random weights; empty: a method that competes."""

DISPLAY_NAMES = {
    # keys of a run's configuration
    "track": "fairness",
    # refinements
    "averaged": "neighbour_mean",
    "isolated": "no_edges",
    "transductive-turned": "transductive-from-neighbours",
    # options of refinements
    "beside": "append_input",
    # options of optimizers
    "trust": "trust_coefficient",
    "clip_trust": "clip_trust_ratio",
    "clip": "max_grad_norm",
}
"""What is shown, by what is stored; any other name is the same in both."""

STORED_NAMES = {shown: stored for stored, shown in DISPLAY_NAMES.items()}

BASELINES: dict[str, Baseline] = {"supervised": "upper", "random": "lower"}
"""Baselines of records that were written before a method declared what it is."""


def display_name(stored: str) -> str:
    """The name to show for a stored name or label.

    Of a label the name is replaced, with or without what follows ``-``, and so are the keys in brackets:
    ``averaged-chosen[beside=True]`` becomes ``neighbour_mean-chosen[append_input=True]``. Unknown names stay.
    """
    return translate(stored, DISPLAY_NAMES)


def stored_name(shown: str) -> str:
    """The stored name or label for a shown one, the inverse of :func:`display_name`; stored names stay."""
    return translate(shown, STORED_NAMES)


def translate(label: str, names: Mapping[str, str]) -> str:
    """A label with its name, or the part of it before the first ``-``, and its keys in brackets replaced."""
    name, bracket, changes = label.partition("[")
    head, dash, rest = name.partition("-")
    name = names[name] if name in names else names.get(head, head) + dash + rest
    return name + bracket + re.sub(r"(?:(?<=^)|(?<=,))\w+(?==)", lambda key: names.get(key[0], key[0]), changes)


def baseline_of(method: Mapping[str, Any]) -> Baseline:
    """Which baseline a method is.

    Args:
        method: the method of a run's configuration; ``baseline`` says it, in records of earlier versions its name.
    """
    declared: Baseline | None = method.get("baseline")
    return BASELINES.get(str(method["name"]), "") if declared is None else declared
