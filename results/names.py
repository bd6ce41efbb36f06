"""Stored names, and what they are called in the code: the one place that knows both.

Names in records, hashes and TOML files are a format and never change. Where the code has found a better word since,
this module maps one to the other. Hashes, records and readers use the stored name; code, tables and figures
the present one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

STORED_OPTIONS = {"neighbour_mean": {"append_input": "beside"}}
"""Options of refinements, by registered name: name in the code to stored name."""

STORED_LABELS = {"transductive-from-neighbours": "transductive-turned"}
"""Labels of refinements in protocols: shown name to stored name."""

OLD_REFINEMENTS = {stored: name for name, stored in STORED_REFINEMENTS.items()}
"""Refinements: stored name, which users may still type, to registered name."""

OLD_LABELS = {stored: name for name, stored in STORED_LABELS.items()}


def stored_field(name: str) -> str:
    """The stored name of a field of the code."""
    return STORED_FIELDS.get(name, name)


def stored_refinement(label: str) -> str:
    """The stored form of a refinement's name or label: ``neighbour_mean-chosen`` is stored as ``averaged-chosen``."""
    return replace_start(STORED_LABELS.get(label, label), STORED_REFINEMENTS)


def display_refinement(label: str) -> str:
    """What a stored refinement or label is called now."""
    return replace_start(OLD_LABELS.get(label, label), OLD_REFINEMENTS)


def stored_options(refinement: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a refinement under their stored names; ``refinement`` is the registered name."""
    known = STORED_OPTIONS.get(refinement, {})
    return {known.get(key, key): value for key, value in options.items()}


def code_options(refinement: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a refinement under the names in the code; inverts :func:`stored_options`."""
    known = {stored: name for name, stored in STORED_OPTIONS.get(refinement, {}).items()}
    return {known.get(key, key): value for key, value in options.items()}


def replace_start(label: str, known: Mapping[str, str]) -> str:
    """A label whose first word, up to ``-`` or ``[``, is replaced where it is known."""
    end = min((label.find(mark) for mark in "-[" if mark in label), default=len(label))
    return known.get(label[:end], label[:end]) + label[end:]
