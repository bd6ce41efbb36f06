"""The process group of torch.distributed that shares one run's pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed

from protocols.system.device import choose_device

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from protocols.spec.execution import ExecutionContext


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this rank. Rank 0 also saves the run's state and evaluates it."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_slice(images: int) -> slice:
    """This rank's part of the ``images`` of a batch."""
    return slice(images * rank() // world_size(), images * (rank() + 1) // world_size())


def init_process_group(number: int, context: ExecutionContext, rendezvous: Path) -> torch.device:
    """Join the process group of a run as rank ``number``, by a file in the folder ``rendezvous``.

    Returns:
        The rank's device: a GPU of its own, counted from the context's device, or the CPU.
    """
    device = choose_device(context.device)
    if device.type == "cuda":
        device = torch.device("cuda", (device.index or 0) + number)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{rendezvous / 'group'}", rank=number, world_size=context.ranks
    )
    return device


def shutdown(processes: Sequence[BaseProcess]) -> None:
    """Leave the process group, and kill the remaining processes."""
    for process in processes:
        if process.pid:
            process.kill()
            process.join()
    if distributed.is_initialized():
        distributed.destroy_process_group()
