"""Names that :mod:`methods.ema` had in earlier versions, for the plugins that import them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.ema import EMA, cosine_schedule

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MomentumCopy", "cosine_between"]

cosine_between = cosine_schedule


class MomentumCopy(EMA):
    """:class:`EMA` under its earlier name."""

    def follow(self, online: nn.Module, momentum: float) -> None:
        """:meth:`EMA.update` under its earlier name."""
        self.update(online, momentum)
