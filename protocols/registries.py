"""Every kind of plugin there is."""

from __future__ import annotations

from typing import Any

from methods.registry import Registry
from methods.registry import registry as methods
from protocols.backbones import registry as backbones
from protocols.datasets import registry as datasets
from protocols.evaluate import registry as evaluations

REGISTRIES: dict[str, Registry[Any]] = {
    "methods": methods,
    "datasets": datasets,
    "backbones": backbones,
    "evaluations": evaluations,
}
