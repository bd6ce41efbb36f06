"""The process group of torch.distributed that shares one run's pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store

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


def part_of_rank(rows: int, number: int) -> slice:
    """The part of ``rows`` that rank ``number`` computes; parts differ by one row at most."""
    return slice(rows * number // world_size(), rows * (number + 1) // world_size())


def local_slice(rows: int) -> slice:
    """This rank's part of ``rows``, such as the images of a batch."""
    return part_of_rank(rows, rank())


def init_process_group(
    number: int, context: ExecutionContext, rendezvous: Path | Store, *, local: int | None = None
) -> torch.device:
    """Join the process group of a run.

    Args:
        number: of this rank.
        context: with the number of ranks, and the device of the first.
        rendezvous: a folder in which a file tells the ranks of each other, or a store.
        local: number of this rank on its node; by default all are on one.

    Returns:
        The rank's device: a GPU of its own, counted from the context's device, or the CPU.
    """
    device = choose_device(context.device)
    if device.type == "cuda":
        # Where a launcher has bound every rank to its GPU, that is the only one.
        here = (number if local is None else local) % torch.cuda.device_count()
        device = torch.device("cuda", (device.index or 0) + here)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    group = {"store": rendezvous} if isinstance(rendezvous, Store) else {"init_method": f"file://{rendezvous}/group"}
    distributed.init_process_group(backend, rank=number, world_size=context.ranks, **group)
    return device


def shutdown(processes: Sequence[BaseProcess]) -> None:
    """Leave the process group, and kill the remaining processes."""
    for process in processes:
        if process.pid:
            process.kill()
            process.join()
    if distributed.is_initialized():
        distributed.destroy_process_group()
