"""Where the images of a training split lie while views are made of them: on the device, if they fit."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SHARE = 0.5
"""Of a GPU's free memory, what images may take."""


class Images:
    """The images of a split, all on the device.

    Attributes:
        stored: (n, side, 3, side) uint8.
        device: where views are made.
    """

    def __init__(self, stored: NDArray[np.uint8], device: torch.device) -> None:
        self.stored = torch.from_numpy(stored).to(device)
        self.device = device

    def __len__(self) -> int:
        """How many there are."""
        return len(self.stored)

    def expect(self, index: Tensor) -> None:
        """Say which images (b,) are wanted next."""

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images on the device, and at which places among them those of an index of any shape are."""
        return self.stored, index


class FarImages(Images):
    """The images of a split, in memory or in a mapped file; a batch's are read ahead on a thread, each once."""

    def __init__(self, stored: NDArray[np.uint8], device: torch.device) -> None:
        self.stored = torch.from_numpy(stored)
        self.device = device
        self._reader = ThreadPoolExecutor(1)
        self._expected: dict[bytes, Future[Tensor]] = {}

    def expect(self, index: Tensor) -> None:
        """Begin to read images (b,); those of the last call but one are forgotten."""
        rows = index.cpu().unique().numpy()
        self._expected = dict([*self._expected.items()][-1:])
        if rows.tobytes() not in self._expected:
            self._expected[rows.tobytes()] = self._reader.submit(self._read, rows)

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images on the device, and at which places among them those of an index of any shape are."""
        unique, places = index.cpu().unique(return_inverse=True)
        rows = unique.numpy()
        expected = self._expected.pop(rows.tobytes(), None)
        return (expected.result() if expected else self._read(rows)), places

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        shape = (len(rows), *self.stored.shape[1:])
        read = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.take(self.stored.numpy(), rows, axis=0, out=read.numpy())
        return read.to(self.device, non_blocking=True)


def images_for(stored: NDArray[np.uint8], device: torch.device) -> Images:
    """Images (n, side, 3, side) where they are used best: on a GPU only if they leave room for the training."""
    if device.type == "cuda" and stored.nbytes > SHARE * torch.cuda.mem_get_info(device)[0]:
        return FarImages(stored, device)
    return Images(stored, device)
