"""Backbones: one function each, registered by name, that returns a freshly initialised encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from methods.base import Backbone

registry: Registry[Callable[[str], Backbone]] = Registry(
    "backbone", package="protocols.backbones", group="bench.backbones"
)
register = registry.register
