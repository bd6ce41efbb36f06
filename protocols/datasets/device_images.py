"""Images of the training split during pretraining: on the device if they fit, else on the host."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MAX_MEMORY_FRACTION = 0.5
"""Fraction of a GPU's free memory that images may take."""


class DeviceImages:
    """All images of a split, on the device.

    Attributes:
        stored: (n, side, 3, side) uint8.
        device: that views are made on.
    """

    def __init__(self, stored: NDArray[np.uint8], device: torch.device) -> None:
        self.stored = torch.from_numpy(stored).to(device)
        self.device = device

    def __len__(self) -> int:
        """Number of images."""
        return len(self.stored)

    def prefetch(self, index: Tensor) -> None:
        """Start reading the images (b,) of a later batch; nothing to do on the device."""

    def read(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images, and the positions among them of an ``index`` of any shape.

        Args:
            index: on the device if all images are there, else on the CPU.

        Returns:
            The images, and positions where ``index`` lies. Both are on the device if the images are; else both are on
            the CPU, to be copied, the images in pinned memory if the device is a GPU.
        """
        return self.stored, index


class HostImages(DeviceImages):
    """Images of a split in host memory or a memory-mapped file; a thread reads those of later batches."""

    def __init__(self, stored: NDArray[np.uint8], device: torch.device) -> None:
        self.stored = torch.from_numpy(stored)
        self.device = device
        self._reader = ThreadPoolExecutor(1)
        self._prefetched: dict[bytes, Future[Tensor]] = {}

    def prefetch(self, index: Tensor) -> None:
        """Start reading images (b,), given on the CPU; of earlier calls only the last two's images are retained."""
        rows = index.unique().numpy()
        self._prefetched = dict([*self._prefetched.items()][-2:])
        if rows.tobytes() not in self._prefetched:
            self._prefetched[rows.tobytes()] = self._reader.submit(self._read, rows, self._buffer(len(rows)))

    def read(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images and positions, both on the CPU; ``index`` too."""
        unique, positions = index.unique(return_inverse=True)
        rows = unique.numpy()
        prefetched = self._prefetched.pop(rows.tobytes(), None)
        return (prefetched.result() if prefetched else self._read(rows, self._buffer(len(rows)))), positions

    def _buffer(self, images: int) -> Tensor:
        """Memory to read so many images into. A copy from pinned memory is one that nothing waits for."""
        shape = (images, *self.stored.shape[1:])
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def _read(self, rows: NDArray[np.int64], buffer: Tensor) -> Tensor:
        np.take(self.stored.numpy(), rows, axis=0, out=buffer.numpy())
        return buffer


def device_images(stored: NDArray[np.uint8], device: torch.device) -> DeviceImages:
    """Images (n, side, 3, side) on the device, or :class:`HostImages` if a GPU has too little memory for them."""
    if device.type == "cuda" and stored.nbytes > MAX_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]:
        return HostImages(stored, device)
    return DeviceImages(stored, device)
