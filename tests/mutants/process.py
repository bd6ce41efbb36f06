"""Runs tests of a changed tree in a fork of this process, which has imported the large libraries once for all."""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

LIBRARIES = (
    "pytest",
    "torch",
    "timm",
    "torchvision",
    "sklearn.datasets",
    "pandas",
    "scipy.stats",
    "PIL.Image",
    "lightly",
)
"""Imported before any fork; they take most of the time of a short test. No module of the tree is among them."""

PROCESSOR_S = 60
"""Seconds of one core that the tests of one change may take; a change that makes them longer is noticed."""

WALL_S = 900
"""Seconds by the clock after which tests count as hanging."""


@dataclass(frozen=True)
class TestOutcome:
    """What the tests said.

    Attributes:
        outcome: ``passed``, ``failed``, or ``hung``.
        test: the first that failed.
        seconds: by the clock.
        output: of the tests.
    """

    outcome: str
    test: str
    seconds: float
    output: str


class FirstFailure:
    """A plugin of pytest that selects tests, and remembers the first of them, or of their files, that fails.

    Args:
        words: by the path of a file, what the names of its tests must contain one of.
    """

    test = ""

    def __init__(self, words: dict[str, list[str]]) -> None:
        self.words = words

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item
            for item in items
            if (words := self.words.get(item.nodeid.partition("::")[0])) is None
            or any(word in item.name for word in words)
        ]

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.test = self.test or report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.test = self.test or report.nodeid


@contextmanager
def copied_tree(tree: Path) -> Iterator[Path]:
    """A temporary copy of the files of a tree that git knows, or does not ignore; all files outside of a checkout."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "tree"
        listed = subprocess.run(
            ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode:
            shutil.copytree(tree, copy)
        for name in filter(None, listed.stdout.split("\0")):
            if (tree / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree / name, copy / name)
        yield copy


def import_libraries(names: Sequence[str]) -> None:
    """Import what all tests share; only then are forks worth their while. Nothing may start a thread before a fork."""
    for name in names:
        importlib.import_module(name)
    gc.freeze()
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.is_dir() else 1
    assert threads == 1, f"{threads} threads: a fork would lose all but one of them"


def run_tests(tree: Path, tests: Sequence[str]) -> TestOutcome:
    """Run test files of a copied tree until the first failure, in a fork of this process.

    Args:
        tree: the copy; it comes first on the path of Python, and is the working directory.
        tests: paths below it; in brackets words, separated by commas, of which the name of a test must contain one.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        report = Path(folder) / "report.json"
        output = Path(folder) / "output.txt"
        child = os.fork()
        if not child:
            run_in_child(tree, tests, report, output)
        status = wait(child, WALL_S)
        found = json.loads(report.read_text()) if report.exists() else {"code": -1, "test": ""}
        text = output.read_text(errors="replace") if output.exists() else ""
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        outcome = "hung"
    elif found["code"] == 5:
        raise RuntimeError(f"no tests in {', '.join(tests)}\n{text}")
    else:
        outcome = "failed" if found["code"] else "passed"
    return TestOutcome(outcome, found["test"], time.monotonic() - start, text)


def run_in_child(tree: Path, tests: Sequence[str], report: Path, output: Path) -> None:
    """Run the tests, write the exit code and the first failure, and end this process."""
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S + 5))
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(tree)
        sys.path[0] = str(tree)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        sys.dont_write_bytecode = True
        import pytest

        files = [test.partition("[")[0] for test in tests]
        words = {
            file: test[len(file) + 1 : -1].split(",") for file, test in zip(files, tests, strict=True) if file != test
        }
        first = FirstFailure(words)
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--basetemp", str(report.parent / "pytest")]
        code = pytest.main([*options, "-m", "not slow and not slurm", *files], plugins=[first])
        report.write_text(json.dumps({"code": int(code), "test": first.test}))
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as its parent
        traceback.print_exc()
        report.write_text(json.dumps({"code": 1, "test": ""}))
    finally:
        sys.stdout.flush()
        os._exit(0)


def wait(child: int, seconds: float) -> int | None:
    """The exit status of a child; None if it took too long. It is killed with what it started, however this ends."""
    end = time.monotonic() + seconds
    status = None
    try:
        while status is None and time.monotonic() < end:
            found, code = os.waitpid(child, os.WNOHANG)
            status = code if found else None
            time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
    return status
