"""Refinements of a frozen representation: one function each, from features to features, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.evaluate.features import Features

registry: Registry[Callable[..., Features | None]] = Registry(
    "refinement", package="protocols.refine", group="bench.refinements"
)
register = registry.register
