"""Saving and restoring what a run must not lose."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from results.store import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@dataclass
class Progress:
    """How far a pretraining is. With the weights and the optimiser's state it is all there is to know.

    Attributes:
        step: optimiser steps taken.
        views: views seen.
        seconds: of training, all attempts together.
        sums: of the loss and other scalars over the current epoch, weighted by images, on the device.
        images: seen in the current epoch.
        history: of the epochs that are over.
        flops: operations of one view, forward and backward; None until counted.
        precision: that it was begun in, and so must be ended in.
        peak_memory: in bytes.
    """

    step: int = 0
    views: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    flops: float | None = None
    precision: str = ""
    peak_memory: int = 0


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values atomically."""
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what :func:`save` wrote; None if there is nothing."""
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return content


PERIOD = 10.0
"""Least seconds between two checkpoints."""


class Pace:
    """Decides when a checkpoint is due: often, but never for more than a twentieth of the time."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last >= max(PERIOD, 20 * self._cost)

    def save(self, path: Path, content: dict[str, Any]) -> None:
        """Save now."""
        start = time.monotonic()
        save(path, content)
        self._last = time.monotonic()
        self._cost = self._last - start
