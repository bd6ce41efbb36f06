"""Saving and loading the state of a pretraining."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from results import seal
from results.errors import DamagedFile
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from protocols.system.device import Precision

log = logging.getLogger(__name__)


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
        scaler: state of the scaler of float16; empty in other precisions.
        energy: joules that the GPUs took; None where they are not told.
        steps: of the whole pretraining, as counted when the run began; 0 in what earlier versions saved.
    """

    step: int = 0
    views: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    flops: float | None = None
    precision: Precision = "float32"
    peak_memory: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    energy: float | None = None
    steps: int = 0


def save(path: Path, content: dict[str, Any], owner: str) -> None:
    """Write tensors and plain values atomically, sealed with their owner: the fingerprint of the run."""

    def write(temporary: Path) -> None:
        try:
            torch.save(content, temporary)
        except RuntimeError:
            with temporary.open("ab") as file:  # torch hides why it cannot write; the next write tells
                file.write(bytes(2**16))
            raise
        seal.seal(temporary, owner)

    write_atomically(path, write)


def load(
    path: Path, device: torch.device, owner: str, warn: Callable[[str], object] = log.warning
) -> dict[str, Any] | None:
    """Load a file of :func:`save`; None if it does not exist.

    A file of an earlier version has no seal: it is accepted once, with a notice, and sealed.

    Args:
        path: of the file.
        device: that tensors are put on.
        owner: fingerprint of the run that it has to belong to.
        warn: receives the notice.

    Raises:
        DamagedFile: it cannot be read, or is not what was written.
        ForeignFile: it belongs to another run.
    """
    if not path.exists() and not path.is_symlink():
        return None
    sealed = seal.check(path, owner, seal.is_plain_zip)
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for files it cannot read
        raise DamagedFile(f"{path} is damaged: {type(error).__name__}") from error
    if not sealed:
        warn(f"{path} is of an earlier version, without a checksum: accepted, and sealed from now on")
        with contextlib.suppress(OSError):
            seal.seal_earlier(path, owner)
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

    def save(self, path: Path, content: dict[str, Any], owner: str) -> None:
        """Save a checkpoint; see :func:`save`."""
        start = time.monotonic()
        save(path, content, owner)
        self._saved_at = time.monotonic()
        self._seconds_to_save = self._saved_at - start
