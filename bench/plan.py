"""From the words of the command line to the runs that are left to do. Never imports torch."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from methods.registry import registry as methods
from protocols import protocol as protocols
from protocols.resolve import parse_changes, resolve
from protocols.run import evaluations_of
from results.errors import RequestError
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.protocol import Table
    from protocols.run import Evaluation, Run


@dataclass(frozen=True)
class Request:
    """What the command line asks for; empty where it leaves the choice to the protocol.

    Attributes:
        methods: names, or paths of Python files that register some.
        datasets: names.
        backbones: names.
        seeds: trials.
        protocol: name, or path of a TOML file.
        evaluations: names, or labels of the protocol.
        evaluate_on: names of data sets to measure on.
        epochs: budget in epochs.
        views: budget in views.
        settings: the ``TARGET.KEY=VALUE`` of ``--set``.
    """

    methods: Sequence[str] = ()
    datasets: Sequence[str] = ()
    backbones: Sequence[str] = ()
    seeds: Sequence[int] = ()
    protocol: str = "quick"
    evaluations: Sequence[str] = ()
    evaluate_on: Sequence[str] = ()
    epochs: float | None = None
    views: int | None = None
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """The runs of a grid.

    Attributes:
        todo: to be begun, carried on with, or given the evaluations they lack, which are all that they name then.
        done: finished before.
    """

    todo: tuple[Run, ...]
    done: tuple[Run, ...]


def words(text: str) -> list[str]:
    """The parts of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` or ``0-9``, or a mixture, as whole numbers without repetition.

    Raises:
        RequestError: it is anything else.
    """
    seeds: dict[int, None] = {}
    for word in words(text):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if not match:
            raise RequestError(f"--seeds {text!r}: {word!r} is not a whole number", hint="write 0,1,2 or 0-9")
        first, last = int(match[1]), int(match[2] or match[1])
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def expand(request: Request, data: Path) -> list[Run]:
    """The grid: every seed first with all methods, so that a part of it already makes a table.

    Args:
        request: what is asked for.
        data: folder of the data sets.

    Raises:
        RequestError: a name, a key or a value is wrong.
    """
    protocol = protocols.load(request.protocol)
    grid, plugins = protocol.grid, [word for word in request.methods if word.endswith(".py")]
    names = [name for word in request.methods or grid.methods for name in method_names(word)]
    changes = changes_of(request, names, protocol.labels())
    return [
        resolve(
            protocol,
            method=method,
            dataset=dataset,
            backbone=backbone,
            seed=seed,
            changes=changes,
            data=data,
            chosen=request.evaluations,
            evaluate_on=request.evaluate_on or grid.evaluate_on,
            plugins=plugins,
        )
        for seed, dataset, backbone, method in itertools.product(
            request.seeds or grid.seeds,
            request.datasets or grid.datasets,
            request.backbones or grid.backbones,
            dict.fromkeys(names),
        )
    ]


def method_names(word: str) -> list[str]:
    """The name itself, or the names that a Python file registers."""
    return methods.add_file(Path(word)) if word.endswith(".py") else [word]


def changes_of(request: Request, names: Sequence[str], labels: Sequence[str]) -> Table:
    """What the command line changes of the protocol.

    Args:
        request: what is asked for.
        names: of the methods that take part.
        labels: of the protocol's evaluations.

    Raises:
        RequestError: it changes a method that takes no part, or names two budgets.
    """
    changes = parse_changes(request.settings, labels)
    for target in changes:
        if target in methods.names() and target not in names:
            raise RequestError(f"--set changes {target}, which takes no part", hint=f"add it: --methods {target},…")
    if request.epochs is not None and request.views is not None:
        raise RequestError("--epochs and --views exclude each other", hint="give one budget")
    budget = {"epochs": request.epochs, "views": request.views}
    given = {key: value for key, value in budget.items() if value is not None}
    if given:
        changes["pretrain"] = {**changes.get("pretrain", {}), **given}
    return changes


def plan(runs: Sequence[Run], folder: Path, *, force: bool = False) -> Plan:
    """Which of the runs are left to do.

    Args:
        runs: the grid.
        folder: of the runs.
        force: take nothing for done.
    """
    todo: list[Run] = []
    done: list[Run] = []
    for run in runs:
        record = None if force else read_run(folder / run.folder()).record
        if record is None:
            todo.append(run)
        elif lacking := lacking_of(run, record):
            todo.append(dataclasses.replace(run, evaluations=lacking))
        else:
            done.append(run)
    return Plan(tuple(todo), tuple(done))


def lacking_of(run: Run, record: Table) -> tuple[Evaluation, ...]:
    """The evaluations of a run that its record does not hold, under their labels."""
    made = [(part.label, part.identity()) for part in evaluations_of(record["run"])]
    return tuple(part for part in run.evaluations if (part.label, part.identity()) not in made)
