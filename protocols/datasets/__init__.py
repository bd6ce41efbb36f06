"""Data sets: one class each, registered by name; all loaded whole as uint8 arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from protocols.datasets.base import Source

registry: Registry[type[Source]] = Registry("dataset", package="protocols.datasets", group="bench.datasets")
register = registry.register

HELD_OUT = "held_out:"
"""Begins the name of a part of another data set; what a protocol says of that one holds for the part."""
