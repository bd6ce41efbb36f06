"""Reference operations: every operation as its definition reads, one torch operation at a time.

Modules with a faster implementation carry an attribute ``reference`` that turns it off. The faster one has to be worth
its lines and may not change a result: both are measured against the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def use_reference_ops(module: nn.Module) -> None:
    """Turn every faster implementation below a module off."""
    for part in module.modules():
        if hasattr(part, "reference"):
            part.reference = True  # type: ignore[assignment]
