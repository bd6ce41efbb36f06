"""Saving and loading the state of a pretraining."""

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
class TrainingState:
    """The state of a pretraining in a checkpoint, beside the weights and the optimizer's state.

    Attributes:
        step: optimizer steps taken.
        views: views seen.
        seconds: of training, all attempts together.
        sums: of the loss and other scalars over the current epoch, weighted by images, on the device.
        images: seen in the current epoch.
        history: of finished epochs.
        flops: floating-point operations of one view, forward and backward; None until counted.
        precision: of the matrix products when the run began.
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
    """Load a file of :func:`save`; None if it does not exist."""
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return content


MIN_INTERVAL_S = 10.0
"""Minimum seconds between two checkpoints."""


class CheckpointTimer:
    """Decides when a checkpoint is due, so that saving takes at most a twentieth of the time."""

    def __init__(self) -> None:
        self._saved_at = time.monotonic()
        self._seconds_to_save = 0.0

    def due(self) -> bool:
        """Whether a checkpoint is due."""
        return time.monotonic() - self._saved_at >= max(MIN_INTERVAL_S, 20 * self._seconds_to_save)

    def save(self, path: Path, content: dict[str, Any]) -> None:
        """Save a checkpoint."""
        start = time.monotonic()
        save(path, content)
        self._saved_at = time.monotonic()
        self._seconds_to_save = self._saved_at - start
