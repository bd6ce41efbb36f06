"""What tests of a real SLURM type and wait for."""

from __future__ import annotations

import contextlib
import io
import sys
import time

from bench.cli import app


def bench(*words, cwd):
    """Run a command in this process, which has imported torch already; returns what it prints."""
    said, argv = io.StringIO(), sys.argv
    with contextlib.chdir(cwd), contextlib.redirect_stdout(said):
        sys.argv = ["bench", *words]
        try:
            app(words, standalone_mode=False)
        finally:
            sys.argv = argv
    return said.getvalue()


def grid(*methods, seeds="0", views=1000):
    budget = ["--views", str(views), "--set", "pretrain.precision=float32", "--set", "pretrain.batch=32"]
    return ["--methods", ",".join(methods), "--datasets", "digits", "--seeds", seeds, *budget]


def until(what, seconds=900):
    """Wait for something to become true, on a busy machine too; returns it."""
    deadline = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(1)
    return result
