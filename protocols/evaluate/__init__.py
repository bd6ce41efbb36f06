"""Evaluations of a frozen representation: one function each, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

registry: Registry[Callable[..., dict[str, float]]] = Registry(
    "evaluation", package="protocols.evaluate", group="bench.evaluations"
)
register = registry.register
