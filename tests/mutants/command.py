"""The command: run, show and table."""

from __future__ import annotations

import argparse
import csv
import difflib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mutants import process
from tests.mutants.operators import OPERATORS, Mutant
from tests.mutants.sample import CORE, mapped_tests, sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    Row = dict[str, str]

COLUMNS = [
    *["id", "module", "line", "function", "operator", "before", "after"],
    *["outcome", "test", "seconds", "commit", "machine"],
]
CAUGHT = ("failed", "hung")
"""Outcomes of tests that notice a change."""


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("command", choices=["run", "show", "table"])
    parser.add_argument("ids", nargs="*", help="of changes; by default all of the sample")
    parser.add_argument("--count", type=int, default=150, help="changes in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", choices=["passed", "failed", "hung", "all"], help="try those of this outcome again")
    parser.add_argument("--tree", type=Path, default=Path(), help="root of the code and its tests")
    parser.add_argument("--libraries", default=",".join(process.LIBRARIES), help="imported once, before any test")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    mutants = sample(tree, arguments.count, arguments.seed)
    if arguments.ids:
        mutants = [mutant for mutant in mutants if mutant.id in arguments.ids]
    if arguments.command == "run":
        run(mutants, tree, arguments.again, arguments.libraries.split(","))
    elif arguments.command == "show":
        sys.stdout.writelines(difference(mutant, tree) for mutant in mutants)
    else:
        text = table(mutants, tree, arguments.count, arguments.seed)
        (tree / "tests" / "mutants" / "README.md").write_text(text, encoding="utf-8")


def run(mutants: list[Mutant], tree: Path, again: str | None, libraries: list[str]) -> None:
    """Try the changes that were not tried yet, and those with the outcome ``again``; each outcome is stored at once."""
    path = tree / "tests" / "mutants" / "results.csv"
    rows = {row["id"]: row for row in read(path)}
    missing = [m for m in mutants if m.id not in rows or again in ("all", rows[m.id]["outcome"])]
    os.nice(10)
    process.import_libraries(libraries)
    unchanged: dict[str, process.TestOutcome] = {}
    origin = {"commit": commit(tree), "machine": machine()}
    with process.copied_tree(tree) as copy:
        for number, mutant in enumerate(missing, start=1):
            tests = mapped_tests(mutant.module, tree)
            for test in tests:
                if test not in unchanged:
                    unchanged[test] = process.run_tests(copy, [test])
                    if unchanged[test].outcome != "passed":
                        print(f"{test} fails without a change\n{unchanged[test].output}", flush=True)
            if any(unchanged[test].outcome != "passed" for test in tests):
                continue  # they would fail whatever the change
            original = (copy / mutant.module).read_text(encoding="utf-8")
            (copy / mutant.module).write_text(mutant.source, encoding="utf-8")
            found = process.run_tests(copy, tests)
            (copy / mutant.module).write_text(original, encoding="utf-8")
            row = {key: str(getattr(mutant, key)) for key in COLUMNS[:7]}
            row |= {"outcome": found.outcome, "test": found.test, "seconds": f"{found.seconds:.0f}"}
            rows[mutant.id] = row | origin
            write(path, (rows[key] for key in rows))
            done = f"{number}/{len(missing)} {found.outcome} {found.seconds:.0f} s"
            print(f"{done} {title(row)} {found.test}", flush=True)
    if failing := [test for test, found in unchanged.items() if found.outcome != "passed"]:
        sys.exit(f"not tried, since tests fail without a change: {', '.join(failing)}")


def title(row: Row) -> str:
    """One line that names a change."""
    return f"{row['id']} {row['module']}:{row['line']} {row['operator']}: {row['before']} → {row['after']}"


def difference(mutant: Mutant, tree: Path) -> str:
    """A change as a unified diff."""
    original = (tree / mutant.module).read_text(encoding="utf-8").splitlines(keepends=True)
    changed = mutant.source.splitlines(keepends=True)
    return "".join(difflib.unified_diff(original, changed, mutant.id, mutant.module))


def read(path: Path) -> list[Row]:
    """The rows of a CSV file; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[Row]) -> None:
    """Store outcomes atomically."""
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def commit(tree: Path) -> str:
    """The short hash of the tree's commit; empty outside of a checkout."""
    words = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def machine() -> str:
    """Number of cores and model of the processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores, {model}".strip(", ")


def table(mutants: list[Mutant], tree: Path, count: int, seed: int) -> str:
    """The page that tells how the changes fared, in Markdown."""
    folder = tree / "tests" / "mutants"
    rows = {row["id"]: row for row in read(folder / "results.csv")}
    reasons = {row["id"]: row["reason"] for row in read(folder / "equivalent.csv")}
    tried = [rows[mutant.id] for mutant in mutants if mutant.id in rows]
    caught = [row for row in tried if row["outcome"] in CAUGHT]
    survived = [row for row in tried if row["outcome"] not in CAUGHT]
    explained = [row for row in survived if row["id"] in reasons]
    seconds = sorted(float(row["seconds"]) for row in tried)
    by_operator = [[name, count_of(tried, "operator", name), str(of.__doc__)] for name, of in OPERATORS.items()]
    by_folder = [[f"`{name}`", count_of(tried, "folder", name)] for name in CORE]
    hung = sum(row["outcome"] == "hung" for row in tried)
    return PAGE.format(
        tried=len(tried),
        caught=len(caught),
        percent=100 * len(caught) / len(tried),
        survived=len(survived),
        explained=len(explained),
        open="None." if len(explained) == len(survived) else f"{len(survived) - len(explained)} are not explained.",
        hung=f", {hung} of them because the tests took longer than {process.PROCESSOR_S} s of one core" if hung else "",
        count=count,
        seed=seed,
        limit=process.PROCESSOR_S,
        median=seconds[len(seconds) // 2],
        longest=seconds[-1],
        commits=", ".join(dict.fromkeys(row["commit"] for row in tried)),
        machines="; ".join(dict.fromkeys(row["machine"] for row in tried)),
        core=", ".join(f"`{name}`" for name in CORE),
        by_operator=markdown(["operator", "caught", "what it does"], by_operator),
        by_folder=markdown(["folder", "caught"], by_folder),
        survivors=markdown(
            ["change", "where", "why no test can or need notice"],
            [[code_change(row), place_of(row), reasons.get(row["id"], "**not explained**")] for row in survived],
        ),
        all=markdown(
            ["id", "change", "where", "noticed by"],
            [[row["id"], code_change(row), place_of(row), noticed_by(row)] for row in tried],
        ),
    )


def count_of(rows: list[Row], key: str, value: str) -> str:
    """How many of the rows with a value were caught: ``9 of 10``."""
    chosen = [row for row in rows if (row["module"].rpartition("/")[0] if key == "folder" else row[key]) == value]
    return f"{sum(row['outcome'] in CAUGHT for row in chosen)} of {len(chosen)}"


def code_change(row: Row) -> str:
    """Before and after, cut to what a cell of a table holds."""
    texts = [text if len(text) <= 90 else f"{text[:87]}..." for text in (row["before"], row["after"])]
    return " → ".join(f"`{text}`" for text in texts).replace("|", "\\|")


def place_of(row: Row) -> str:
    """Module, line and function."""
    return f"`{row['module']}:{row['line']}`" + (f" {row['function']}" if row["function"] else "")


def noticed_by(row: Row) -> str:
    """The first test that failed."""
    if row["outcome"] == "hung":
        return "the time it takes"
    name = row["test"].rpartition("::")[2] or "a test file that cannot be read"
    return name.replace("|", "\\|") if row["outcome"] == "failed" else "no test"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PAGE = """# Would the tests notice?

{tried} small wrong changes of the numeric core, each tried against the tests that belong to its module. **{caught} were
noticed** ({percent:.1f} %){hung}. {survived} were not; {explained} of these are explained below. Unexplained:
{open}

    python -m tests.mutants run      # --count {count} --seed {seed}; continues where it was interrupted
    python -m tests.mutants run --again passed    # those that no test noticed, once there are new tests
    python -m tests.mutants show ID  # one change as a diff
    python -m tests.mutants table    # this page, from results.csv and equivalent.csv

The sample is no estimate for changes that were not tried: tests were added for what no test noticed at first, which of
the first 150 changes were 29. `--seed 1` draws others.

Run on commit {commits}, on {machines}. A change took {median:.0f} s (median) to {longest:.0f} s by the clock.

The core is {core}. A change is generated over the syntax tree of a module, so that no hand chooses where. Left alone
are docstrings, types, imports, decorators, assertions, texts, errors, progress, and constants and arguments that change
nothing but speed; further constants up to 1e-6, which guard against division by zero. The sample takes every module in
turn and of every module the operators in turn; for the same code it is the same. Each change is made in a temporary
copy of the tree. The tests of its module (`tests/mutants/sample.py`) run until the first failure, in a fork of a
process that has imported torch and the other libraries, but nothing of the project. They have {limit} s of one core.

{by_operator}

{by_folder}

## What no test noticed

{survivors}

## All changes

{all}
"""
