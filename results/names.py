"""Maps stored names to the names in the code.

Names in records, hashes and TOML files are a format and never change. Where the code uses another name, this module
maps one to the other. Hashes, records and readers use the stored name; code, tables and figures the present one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

STORED_FIELDS = {
    "fairness": "track",
    "augmentations": "recipes",
    "trust_coefficient": "trust",
    "clip_trust_ratio": "clip_trust",
    "max_grad_norm": "clip",
    "reference": "plain",
}
"""Fields of a run's configuration and of ``[pretrain]``: name in the code to stored name."""

STORED_REFINEMENTS = {"neighbour_mean": "averaged", "no_edges": "isolated"}
"""Refinements: registered name to stored name."""

STORED_OPTIONS = {name: {"append_input": "beside"} for name in ("neighbour_mean", "graph", "no_edges")}
"""Options of refinements, by registered name: name in the code to stored name."""

STORED_LABELS = {"transductive-from-neighbours": "transductive-turned"}
"""Labels of refinements in protocols: shown name to stored name."""

OLD_REFINEMENTS = {stored: name for name, stored in STORED_REFINEMENTS.items()}
"""Refinements: stored name, which users may still type, to registered name."""

OLD_LABELS = {stored: name for name, stored in STORED_LABELS.items()}


OLD_HOOKS = {"keepsakes": "extra_state", "passes": "views_per_image", "sources": "source_indices"}
"""Hooks of ``Method`` in earlier versions, which would never be called, and what they are called now."""


def stored_field(name: str) -> str:
    """The stored name of a field of the code."""
    return STORED_FIELDS.get(name, name)


def stored_name(label: str) -> str:
    """The stored form of a refinement's name or label, whichever of the two is given.

    ``neighbour_mean-chosen[append_input=True]`` is stored as ``averaged-chosen[beside=True]``.
    """
    name, bracket, changes = label.partition("[")
    known = {key: stored for options in STORED_OPTIONS.values() for key, stored in options.items()}
    return replace_start(STORED_LABELS.get(name, name), STORED_REFINEMENTS) + bracket + replace_keys(changes, known)


def display_name(label: str) -> str:
    """What a stored name or label of a refinement is called now; inverts :func:`stored_name`."""
    name, bracket, changes = label.partition("[")
    known = {stored: key for options in STORED_OPTIONS.values() for key, stored in options.items()}
    return replace_start(OLD_LABELS.get(name, name), OLD_REFINEMENTS) + bracket + replace_keys(changes, known)


def display_stage(stage: str) -> str:
    """What a stage of a stored cost is called now: ``knn after averaged on cifar100`` names a refinement."""
    evaluation, after, rest = stage.rpartition(" after ")
    refinement, space, rest = rest.partition(" ")
    return f"{evaluation}{after}{display_name(refinement)}{space}{rest}"


def stored_options(refinement: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a refinement under their stored names; ``refinement`` is the registered name."""
    known = STORED_OPTIONS.get(refinement, {})
    return {known.get(key, key): value for key, value in options.items()}


def code_options(refinement: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a refinement under the names in the code; inverts :func:`stored_options`."""
    known = {stored: name for name, stored in STORED_OPTIONS.get(refinement, {}).items()}
    return {known.get(key, key): value for key, value in options.items()}


def replace_start(name: str, known: Mapping[str, str]) -> str:
    """A name whose part before the first ``-`` is replaced where it is known."""
    head, dash, rest = name.partition("-")
    return known.get(head, head) + dash + rest


def replace_keys(changes: str, known: Mapping[str, str]) -> str:
    """The ``KEY=VALUE,…`` of a label, with the keys replaced that are known."""
    return re.sub(r"(?:(?<=^)|(?<=,))\w+(?==)", lambda key: known.get(key[0], key[0]), changes)


Baseline = Literal["upper", "lower", "external", ""]
"""``upper``: training with labels; ``lower``: random weights; ``external``: weights trained elsewhere; empty: a method
that competes."""

UNTRAINED = ("lower", "external")
"""Baselines that are not trained here."""

BASELINES: dict[str, Baseline] = {"supervised": "upper", "random": "lower"}
"""Baselines in records of earlier versions, where methods did not declare them."""


def baseline_of(config: Mapping[str, Any]) -> Baseline:
    """Which baseline the method of a run's configuration is: declared there, or known by its name."""
    declared: Baseline | None = config.get("baseline")
    return BASELINES.get(str(config["method"]["name"]), "") if declared is None else declared


MONITORING_KEYS = frozenset({"knn_every"})
"""Keys of ``[pretrain]`` that say what is measured during training: they change no number, and no identity or label."""

LOWER_IS_BETTER = re.compile(r"ece|.*_std")
"""Metrics of which lower values are better: errors, and spreads."""


def direction(metric: str) -> int:
    """1 if higher values of a metric are better, −1 if lower ones are."""
    return -1 if LOWER_IS_BETTER.fullmatch(metric) else 1
