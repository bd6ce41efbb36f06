"""One run by several processes of a node, its ranks: what they share is a step of pretraining.

The first rank is the process that carries the run out. It starts the others, keeps the run's state and measures it; the
others only pretrain along, and end when it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import traceback
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from protocols.hardware import choose_device, prepare_process
from results.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from protocols.place import Place
    from protocols.run import Run

FAREWELL = 10.0
"""Seconds that other ranks get to end by themselves."""


def count() -> int:
    """How many ranks share this process's run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this process is; the first also keeps the run's state and measures it."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own(images: int) -> slice:
    """Of so many images of a batch, those of this rank."""
    return slice(images * rank() // count(), images * (rank() + 1) // count())


@contextlib.contextmanager
def together(run: Run, folder: Path, place: Place) -> Iterator[None]:
    """Have the run's pretraining shared by as many ranks as its place wants; this process is the first.

    Raises:
        BenchError: another rank failed; this one's failure is then only a consequence.
    """
    if place.ranks == 1:
        yield
        return
    spawn, threads = get_context("spawn"), torch.get_num_threads()
    torch.set_num_threads(max(1, threads // place.ranks))
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (run.config(), folder, place, Path(meeting), torch.get_num_threads())
        others = [spawn.Process(target=assist, args=(n, *arguments), daemon=True) for n in range(1, place.ranks)]
        try:
            for other in others:
                other.start()
            join(0, place, Path(meeting))
            yield
            for other in others:
                other.join(FAREWELL)
        except Exception as error:
            if told := "; ".join(path.read_text(encoding="utf-8") for path in sorted(Path(meeting).glob("failure-*"))):
                raise BenchError(told) from error
            raise
        finally:
            leave(others)
            torch.set_num_threads(threads)


def leave(others: Sequence[BaseProcess]) -> None:
    """End the group, and what processes are left of it."""
    for other in others:
        if other.pid:
            other.kill()
            other.join()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def join(number: int, place: Place, meeting: Path) -> torch.device:
    """Become a rank of the group that meets in a folder; returns its device."""
    device = device_of(number, place)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{meeting / 'group'}", rank=number, world_size=place.ranks
    )
    return device


def device_of(number: int, place: Place) -> torch.device:
    """A GPU for each rank, counted from the place's own."""
    device = choose_device(place.device)
    return torch.device("cuda", (device.index or 0) + number) if device.type == "cuda" else device


def assist(number: int, config: Any, folder: Path, place: Place, meeting: Path, threads: int) -> None:  # noqa: PLR0917
    """What another rank does: the same pretraining, of which it keeps nothing; it ends with the first at the latest."""
    from protocols.datasets.load import load_dataset
    from protocols.pretrain import pretrain
    from protocols.pretrained import prepare
    from protocols.registries import know_plugins
    from protocols.run import Run
    from protocols.watch import Watch

    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(known, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    prepare_process(threads)
    try:
        device = join(number, place, meeting)
        run = Run.from_config(config)
        know_plugins(run)
        dataset = load_dataset(run.dataset.name, place.data)
        pretrain(prepare(run, folder, dataset, device, plain=place.plain), Watch())
    except Exception as error:  # noqa: BLE001 - the first rank has to hear of whatever it is
        (meeting / f"failure-{number}").write_text(f"rank {number}: {type(error).__name__}: {error}", encoding="utf-8")
        traceback.print_exc()
        os._exit(1)


def end_with_parent() -> None:
    """End this process when the first rank's has ended, however that came about."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
