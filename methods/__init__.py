"""Self-supervised methods: one file each, written against :class:`Method`.

A method of your own needs nothing but these names::

    from methods import Batch, Method, Setting, mlp, register_method
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from methods.registry import METHODS, register, register_method

if TYPE_CHECKING:
    from methods.base import Backbone, Batch, Method, Setting
    from methods.heads import mlp
    from methods.momentum import MomentumCopy

__all__ = [
    "METHODS",
    "Backbone",
    "Batch",
    "Method",
    "MomentumCopy",
    "Setting",
    "mlp",
    "register",
    "register_method",
]

_LAZY = {
    "Backbone": "base",
    "Batch": "base",
    "Method": "base",
    "MomentumCopy": "momentum",
    "Setting": "base",
    "mlp": "heads",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: listing methods must not."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
