"""Reference operations: every operation by its definition, one torch operation at a time.

Modules with a faster implementation have an attribute ``reference`` that turns it off. The speed and the results of the
faster implementation are tested against the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def use_reference_ops(module: nn.Module) -> None:
    """Turn off the faster implementations of a module and all its submodules."""
    for submodule in module.modules():
        if hasattr(submodule, "reference"):
            submodule.reference = True  # type: ignore[assignment]
