"""The command line in forks of a process that has imported torch and the rest already.

A new interpreter spends some ten seconds on imports before it does what a test is about. What has to be seen from a
new interpreter, such as what a command imports, or kills and signals, is tested in one. The forks are those of a server
that has done nothing but import (``warm``): a process that has trained cannot be forked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.process import BaseProcess

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tools.warm"])


@dataclass(frozen=True)
class Completed:
    """What a command printed, and how it exited."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Task:
    """What a fork does.

    Attributes:
        commands: of the command line, one after the other; the exit status is the largest.
        code: of Python, executed instead.
        cwd: the folder that it is done in.
        environment: all variables.
        path: folders in front of ``sys.path``.
        figures: whether figures are drawn, which is most of the time of a small run; else their files are empty.
        timeout: seconds after which it is killed.
    """

    commands: Sequence[Sequence[str]]
    code: str
    cwd: str
    environment: Mapping[str, str]
    path: Sequence[str] = ()
    figures: bool = False
    timeout: int = 300


@dataclass(frozen=True)
class Child:
    """A fork, and the folder that its output goes to."""

    process: BaseProcess
    output: tempfile.TemporaryDirectory[str]

    def wait(self) -> Completed:
        """Wait for its end."""
        self.process.join()
        texts = [(Path(self.output.name) / name).read_bytes().decode(errors="replace") for name in ("out", "err")]
        self.output.cleanup()
        return Completed(self.process.exitcode or 0, *texts)


def bench(*words: str, cwd: Path | str, **options: Any) -> Completed:
    """``bench WORDS`` in a folder; further options are those of :class:`Task`."""
    return start_bench(*words, cwd=cwd, **options).wait()


def start_bench(*words: str, cwd: Path | str, env: Mapping[str, str] | None = None, **options: Any) -> Child:
    """Start ``bench WORDS`` in a folder, with further variables of the environment."""
    return start(Task([words], "", str(cwd), {**os.environ, **(env or {})}, **options))


def bench_all(*commands: Sequence[str], cwd: Path | str, **options: Any) -> Completed:
    """Several commands in one fork, whatever their exit status."""
    return start(Task(commands, "", str(cwd), dict(os.environ), **options)).wait()


def execute(code: str, *, cwd: Path | str) -> Completed:
    """Python code in a folder."""
    return start(Task([], code, str(cwd), dict(os.environ))).wait()


def start(task: Task) -> Child:
    """Start a fork that does a task."""
    output = tempfile.TemporaryDirectory()
    process = processes.Process(target=run, args=(task, output.name))
    process.start()
    return Child(process, output)


def run(task: Task, output: str) -> None:
    """What a fork does, from its start to its exit."""
    signal.alarm(task.timeout)
    os.environ.clear()
    os.environ.update(task.environment)
    os.chdir(task.cwd)
    sys.path[:0] = task.path
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(output) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    if not task.figures:
        leave_figures_empty()
    code = max([exit_status(task, command) for command in task.commands] or [exit_status(task)])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_status(task: Task, command: Sequence[str] = ()) -> int:
    """The status that an interpreter would exit with after a command, or after the task's code."""
    from bench.cli import main

    code: object = 0
    try:
        if task.code:
            exec(task.code, {"__name__": "__main__"})  # noqa: S102 - an example of the documentation
        else:
            sys.argv = ["bench", *command]
            main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    return int(code or 0)


EMPTY = b"<svg xmlns='http://www.w3.org/2000/svg' width='1pt' height='1pt' viewBox='0 0 1 1'/>"
"""What is in the files of figures that are not drawn."""


def leave_figures_empty() -> None:
    """Let the files of figures be empty; they hold no numbers that the files beside them do not."""
    from matplotlib.figure import Figure

    from results.figures import style

    def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = tuple(style.FORMATS)) -> list[Path]:
        paths = [folder / f"{name}.{kind}" for kind in formats]
        for path in paths:
            path.write_bytes(EMPTY)
        return paths

    style.save = save
    Figure.savefig = lambda self, target, **_: Path(target).write_bytes(EMPTY)
