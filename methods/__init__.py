"""Self-supervised methods: one file each, written against :class:`Method`.

A method of your own needs nothing but these names::

    from methods import EMA, Batch, Method, RunInfo, mlp, register_method
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from methods.registry import METHODS, register, register_method

if TYPE_CHECKING:
    from methods.base import Backbone, Batch, Method, RunInfo, Setting
    from methods.ema import EMA
    from methods.heads import mlp
    from methods.momentum import MomentumCopy

__all__ = [
    "EMA",
    "METHODS",
    "Backbone",
    "Batch",
    "Method",
    "MomentumCopy",
    "RunInfo",
    "Setting",
    "mlp",
    "register",
    "register_method",
]

_LAZY = {
    "Backbone": "base",
    "Batch": "base",
    "EMA": "ema",
    "Method": "base",
    "RunInfo": "base",
    "mlp": "heads",
    # Names of earlier versions:
    "MomentumCopy": "momentum",
    "Setting": "base",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only on first use, so that listing methods does not import it."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
