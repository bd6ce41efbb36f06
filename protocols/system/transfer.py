"""Copies to a GPU that neither the host nor the GPU's other work waits for.

A copy is asynchronous only from pinned memory. It is queued on a stream of its own, so that it runs beside the kernels
that are queued already; the kernels that need it wait for it on the GPU.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ALIGNMENT = 16
"""Every tensor in a packed buffer starts at a multiple of this many bytes."""


class Transfer:
    """Tensors of the host on their way to a device; on a CPU the tensors themselves.

    Args:
        tensors: on the CPU; those that are not pinned are packed into one pinned buffer, and copied together.
        device: to copy them to.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._done: torch.cuda.Event | None = None
        self._buffers: list[Tensor] = []
        if device.type != "cuda":
            self._tensors = [tensor.to(device) for tensor in tensors]
            return
        small = [tensor for tensor in tensors if not tensor.is_pinned()]
        packed, starts = pack(small)
        with torch.cuda.stream(copy_stream(device)):
            buffer = packed.to(device, non_blocking=True)
            unpacked = iter(zip(small, starts, strict=True))
            self._tensors = []
            for tensor in tensors:
                if tensor.is_pinned():
                    self._buffers.append(tensor.to(device, non_blocking=True))
                    self._tensors.append(self._buffers[-1])
                else:
                    source, start = next(unpacked)
                    part = buffer[start : start + source.nbytes]
                    self._tensors.append(part.view(source.dtype).view(source.shape))
            self._buffers.append(buffer)
            self._done = torch.cuda.Event()
            self._done.record()

    def result(self) -> list[Tensor]:
        """The tensors on the device. Kernels that are queued from now on wait for them; the host does not."""
        if self._done is not None:
            stream = torch.cuda.current_stream(self._buffers[0].device)
            stream.wait_event(self._done)
            for buffer in self._buffers:
                buffer.record_stream(stream)  # so that its memory is not used again before these kernels are done
        return self._tensors


def pack(tensors: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """The bytes of CPU tensors in one pinned buffer (uint8), and where in it each of them starts."""
    sizes = [-(-tensor.nbytes // ALIGNMENT) * ALIGNMENT for tensor in tensors]
    starts = [0, *itertools.accumulate(sizes)]
    packed = torch.empty(starts.pop(), dtype=torch.uint8, pin_memory=True)
    for tensor, start in zip(tensors, starts, strict=True):
        packed[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
    return packed, starts


@functools.cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that copies to a GPU are queued on."""
    return torch.cuda.Stream(device)
