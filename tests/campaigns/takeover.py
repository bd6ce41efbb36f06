"""Takeovers of the claim of a process that is gone, by many at once: one gets it, the others are told.

The owner that is gone is one of this machine, one whose number belongs to another process now, or one of another
machine whose last write is long ago; clocks of the processes differ by hours.

    python -m tests.campaigns.takeover [--trials 1000] [--processes 6]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import store
from results.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

processes = multiprocessing.get_context("fork")

OWNERS: dict[str, dict[str, Any]] = {
    "gone": {"host": socket.gethostname(), "pid": 2**22 + 1, "started": "1"},
    "its number is another's": {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"},
    "elsewhere, long ago": {"host": "elsewhere", "pid": 1, "started": "1", "processes": "another"},
    "damaged": {"host": 5},
}
"""The claim that is taken over, by what has become of its owner."""

CLOCK_S = 5 * 3600.0
"""Seconds by which the clocks of processes differ at most."""


def take(folder: Path, trials: int, seed: int, barrier: Any, queue: Any) -> None:
    """What one of the processes does: try to take the claim of every trial, and hold what it got for a while."""
    rng, real = random.Random(seed), time.time
    store.WATCH_S = 0.05
    for number in range(trials):
        ahead = rng.uniform(0, CLOCK_S)
        store.time = Clock(lambda ahead=ahead: real() + ahead)  # type: ignore[assignment, misc]
        run, got = folder / str(number), False
        barrier.wait()
        with contextlib.suppress(Busy), store.claimed(run):
            got = True
            with contextlib.suppress(FileExistsError):
                os.close(os.open(run / "writing", os.O_CREAT | os.O_EXCL))
                (run / f"writer-{seed}").touch()
            if not (run / f"writer-{seed}").exists():
                (run / "two writers").touch()
            barrier.wait()  # all have tried while this one writes
            (run / "writing").unlink(missing_ok=True)
        if not got:
            barrier.wait()
        queue.put((number, got))


class Clock:
    """The module ``time`` with another clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.time = now
        self.sleep, self.monotonic = time.sleep, time.monotonic


def attempt(folder: Path, trials: int, count: int) -> Counter[str]:
    """How trials ended: with one writer, none or two, by owner."""
    long_ago = time.time() - 24 * 3600
    for number in range(trials):
        claim = folder / str(number) / store.CLAIM
        claim.parent.mkdir(parents=True)
        claim.write_text(json.dumps(OWNERS[kind_of(number)]))
        os.utime(claim, (long_ago, long_ago))
    barrier, queue = processes.Barrier(count), processes.SimpleQueue()
    started = [processes.Process(target=take, args=(folder, trials, n, barrier, queue)) for n in range(count)]
    for process in started:
        process.start()
    winners = Counter[int]()
    for _ in range(trials * count):
        number, got = queue.get()
        winners[number] += got
    for process in started:
        process.join()
    found = Counter[str]()
    for number in range(trials):
        two = (folder / str(number) / "two writers").exists()
        left = {path.name for path in (folder / str(number)).glob(f"{store.CLAIM}*")}
        problem = "two writers" if two or winners[number] > 1 else "no writer" if not winners[number] else "one writer"
        found[f"{kind_of(number)}: {problem}{'; claim left' if left else ''}"] += 1
    return found


def kind_of(number: int) -> str:
    """The owner of a trial's claim."""
    return list(OWNERS)[number % len(OWNERS)]


def main() -> None:
    """The campaign, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line, count in sorted(attempt(Path(folder), given.trials, given.processes).items()):
            print(f"{count:6} {line}")


if __name__ == "__main__":
    main()
