"""The command line in a fork of the tests' own process, which has imported torch and the rest already.

A new interpreter spends some ten seconds on imports before it does what a test is about. What has to be seen from a
new interpreter, such as what a command imports, or kills and signals, is tested in one.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


LIBRARIES = ("seaborn", "sklearn.datasets", "timm", "torch._dynamo", "torch._inductor.compile_fx")
OWN = ("bench.cli", "protocols.preflight", "protocols.runner", "results.report")


@dataclass(frozen=True)
class Completed:
    """What a command printed, and how it exited."""

    returncode: int
    stdout: str
    stderr: str


@cache
def warm_up() -> None:
    """Import what nearly every run imports, once for all forks; the code of the project itself too."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name in (*LIBRARIES, *OWN):
        importlib.import_module(name)
    import torch

    from protocols.augment.augmenter import MIN_COMPILE_NUMEL
    from protocols.augment.colour_jitter import compiled_jitter
    from protocols.system.compiled import compilation_works

    if compilation_works():
        for count in (1, 2):
            side = 32
            views = torch.rand(count * MIN_COMPILE_NUMEL // (3 * side**2) + 1, side, 3, side)
            compiled_jitter(views, torch.zeros(len(views), dtype=torch.int64), torch.ones(len(views)))


def bench(*words: str, cwd: Path | str, **options: Any) -> Completed:
    """``bench WORDS`` in a folder; see :func:`start_bench`."""
    return start_bench(*words, cwd=cwd, **options).wait()


def start_bench(
    *words: str,
    cwd: Path | str,
    env: Mapping[str, str] | None = None,
    path: Sequence[str] = (),
    figures: bool = False,
    timeout: int = 300,
) -> Child:
    """Start ``bench WORDS`` in a folder.

    Args:
        words: of the command line.
        cwd: the folder.
        env: variables that are set beside those of the tests.
        path: folders in front of ``sys.path``.
        figures: whether figures are drawn, which is most of the time of a small run; else their files are empty.
        timeout: seconds after which it is killed.
    """

    def main() -> None:
        from bench.cli import main as command_line

        sys.path[:0] = path
        if not figures:
            leave_figures_empty()
        sys.argv = ["bench", *words]
        command_line()

    return start(main, cwd=cwd, env=env, timeout=timeout)


def leave_figures_empty() -> None:
    """Let matplotlib write empty files; figures hold no numbers that the files beside them do not."""
    from matplotlib.figure import Figure

    def save(self: Figure, target: Any, *_: object, **__: object) -> None:
        empty = b"<svg xmlns='http://www.w3.org/2000/svg' width='1pt' height='1pt' viewBox='0 0 1 1'/>"
        target.write(empty) if hasattr(target, "write") else Path(target).write_bytes(empty)

    Figure.savefig = save
    Figure.draw_without_rendering = lambda self: None


def fork(main: Callable[[], object], *, cwd: Path | str, env: Mapping[str, str] | None = None) -> Completed:
    """Call a function in a fork; see :func:`start`."""
    return start(main, cwd=cwd, env=env).wait()


def start(
    main: Callable[[], object], *, cwd: Path | str, env: Mapping[str, str] | None = None, timeout: int = 300
) -> Child:
    """Start a fork that calls a function, in a folder and with further variables of the environment."""
    warm_up()
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - the child closes them
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(timeout)
        os.chdir(cwd)
        os.environ.update(env or {})
        replace_streams(out.fileno(), err.fileno())
        os._exit(exit_status(main))
    return Child(pid, out, err)


@dataclass(frozen=True)
class Child:
    """A fork, and the files that its output goes to."""

    pid: int
    out: IO[bytes]
    err: IO[bytes]

    def wait(self) -> Completed:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        texts = []
        for file in (self.out, self.err):
            with file:
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Completed(os.waitstatus_to_exitcode(status), *texts)


def replace_streams(out: int, err: int) -> None:
    """Let standard output and error of this process be two files, and standard input be empty."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)


def exit_status(main: Callable[[], object]) -> int:
    """The status that an interpreter would exit with after a function."""
    from protocols.spec.plugins import REGISTRIES

    for registry in REGISTRIES.values():  # what is installed is looked up again
        registry.__dict__.pop("_entry_points", None)
    code: object = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0)
