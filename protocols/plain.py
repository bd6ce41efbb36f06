"""The plain path: every operation as its definition reads, one torch operation at a time.

Modules that know a quicker way carry an attribute ``plain`` that turns it off. The quick path has to be worth its
lines, and may not change a result: both are measured against this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def make_plain(module: nn.Module) -> None:
    """Turn every quick way below a module off."""
    for part in module.modules():
        if hasattr(part, "plain"):
            part.__dict__["plain"] = True  # past torch's __setattr__, which is typed for tensors and modules
