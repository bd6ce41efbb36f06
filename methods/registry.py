"""The registry of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.registry import Registry

if TYPE_CHECKING:
    from methods.base import Method

METHODS: Registry[type[Method]] = Registry(
    "method", package="methods", group="bench.methods", attributes={"baseline": "", "augmentations": ()}
)
register_method = METHODS.register
register = register_method  # its name in earlier versions, which plugin files import
