"""Forks of a process that has imported everything: a command of a trial starts in milliseconds."""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tools import warm  # noqa: F401 - what the forks need is imported, and compiled, once
from tests.tools.forked import leave_figures_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

for package in ("bench", "slurm", "protocols", "methods", "results"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)

UNCAUGHT = 98
"""Exit status of a fork that an exception ended."""

HUNG = -1000
"""In place of the exit status of a fork that did not end in time."""


@dataclass
class Fork:
    """A forked command.

    Attributes:
        pid: of the fork, which leads a process group.
        log: file that it prints to.
    """

    pid: int
    log: Path
    status: int | None = None

    def poll(self) -> int | None:
        """The exit status, the negative signal that ended it, or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, timeout: float = 120.0) -> int:
        """The exit status; the group is killed, and the status :data:`HUNG`, if it does not end in time."""
        end, pause = time.monotonic() + timeout, 0.002
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                self.status = HUNG
                break
            time.sleep(pause)
            pause = min(0.05, 1.5 * pause)
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """Kill the whole group."""
        os.killpg(self.pid, signal.SIGKILL)
        if self.status is None:
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_bytes().decode(errors="replace")


def bench(
    words: Sequence[str],
    cwd: Path,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Fork:
    """Start ``bench WORDS`` in a fork.

    Args:
        words: of the command line.
        cwd: folder that it is started in.
        log: file that it prints to, replaced.
        env: further variables of the environment.
        before: called in the fork first.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Fork(pid, log)
    status = UNCAUGHT
    try:
        os.setpgid(0, 0)
        os.chdir(cwd)
        for name in ("BENCH_DATA", "BENCH_RUNS"):  # everything is in the folder
            os.environ.pop(name, None)
        os.environ.update(env or {})
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
        limit_memory()
        give_up_privileges()
        leave_figures_empty()
        if before:
            before()
        status = exit_status(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def exit_status(words: Sequence[str]) -> int:
    """The status that ``bench WORDS`` exits with."""
    from bench.cli import main

    sys.argv = ["bench", *words]
    try:
        main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        return UNCAUGHT
    return 0


def limit_memory() -> None:
    """Let a fork take a few GiB at most: what reads a file that never ends shall not take the machine with it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    largest = pages * resource.getpagesize() + 4 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (largest, largest))


def give_up_privileges() -> None:
    """Let the rights of files hold for the superuser too; nothing for other users."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        nothing = (ctypes.c_uint32 * 6)()
        ctypes.CDLL(None, use_errno=True).capset(header, nothing)
