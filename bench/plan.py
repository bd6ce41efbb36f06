"""From the words of the command line to the runs that are left to do. Never imports torch."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.registry import registry as methods
from protocols import protocol as protocols
from protocols.labels import parse_label, words
from protocols.resolve import lacking, parse_changes, resolve
from results.errors import RequestError
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from protocols.protocol import Grid, Protocol, Table
    from protocols.run import Run


@dataclass(frozen=True)
class Request:
    """What the command line asks for; empty where it leaves the choice to the protocol.

    Attributes:
        methods: labels, or paths of Python files that register some.
        datasets: names.
        backbones: names.
        seeds: trials.
        protocol: name, or path of a TOML file.
        evaluations: labels.
        refinements: labels.
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
    refinements: Sequence[str] = ()
    evaluate_on: Sequence[str] = ()
    epochs: float | None = None
    views: int | None = None
    settings: Sequence[str] = ()

    @property
    def is_blank(self) -> bool:
        """Whether it leaves everything to the default protocol."""
        choices = {**vars(self), "protocol": self.protocol != Request.protocol}
        return not any(choices.values())


@dataclass(frozen=True)
class Plan:
    """The runs of a grid.

    Attributes:
        todo: to be begun, carried on with, or given the evaluations they lack, which are all that they name then.
        done: finished before.
    """

    todo: tuple[Run, ...]
    done: tuple[Run, ...]


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
        if first > last:
            raise RequestError(f"--seeds {text!r}: {word} is empty", hint=f"write {last}-{first}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def parse(
    *,
    methods: str,
    datasets: str,
    backbones: str,
    seeds: str,
    protocol: str,
    evaluations: str,
    refine: str,
    evaluate_on: str,
    epochs: float | None,
    views: int | None,
    settings: Sequence[str],
) -> Request:
    """What the options of the command line ask for.

    Raises:
        RequestError: the seeds are not whole numbers.
    """
    return Request(
        methods=words(methods),
        datasets=words(datasets),
        backbones=words(backbones),
        seeds=parse_seeds(seeds),
        protocol=protocol,
        evaluations=words(evaluations),
        refinements=words(refine),
        evaluate_on=words(evaluate_on),
        epochs=epochs,
        views=views,
        settings=settings,
    )


def expand(request: Request, data: Path) -> list[Run]:
    """The grid: every seed first with all methods, so that a part of it already makes a table; no run twice.

    Args:
        request: what is asked for.
        data: folder of the data sets.

    Raises:
        RequestError: a name, a key or a value is wrong.
    """
    protocol = protocols.load(request.protocol)
    files = [word.partition("[")[0] for word in request.methods]
    plugins = list(dict.fromkeys(file for file in files if file.endswith(".py")))
    grids = grids_for(request, protocol)
    names = {parse_label(word)[0] for grid in grids for word in grid.methods}
    changes = changes_of(request, names, protocol.labels())
    trials = [
        (grid.seeds, trial)
        for grid in grids
        for trial in trials_of(grid, protocol, changes=changes, data=data, plugins=plugins)
    ]
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(seed for grid in grids for seed in grid.seeds):
        for run in (dataclasses.replace(trial, seed=seed) for seeds, trial in trials if seed in seeds):
            folder = run.folder()
            runs[folder] = run.together_with(runs[folder].evaluations) if folder in runs else run
    return list(runs.values())


def grids_for(request: Request, protocol: Protocol) -> list[Grid]:
    """The protocol's grids, with what the request asks for instead.

    Where there are several, the data sets and backbones asked for choose among them.

    Raises:
        RequestError: they choose none.
    """
    given = {
        "methods": [label for word in request.methods for label in method_labels(word)],
        **{key: getattr(request, key) for key in ("seeds", "evaluations", "refinements", "evaluate_on")},
    }
    places = {key: getattr(request, key) for key in ("datasets", "backbones")}
    if len(protocol.grids) == 1:
        return [replaced(protocol.grids[0], {**given, **places})]
    grids = [narrowed(grid, places) for grid in protocol.grids]
    left = [replaced(grid, given) for grid in grids if grid.datasets and grid.backbones]
    if not left:
        pairs = dict.fromkeys(
            f"{' or '.join(grid.datasets)} with {' or '.join(grid.backbones)}" for grid in protocol.grids
        )
        raise RequestError(f"{protocol.name} has no such runs", hint=f"it has {'; '.join(pairs)}")
    return left


def replaced(grid: Grid, given: Mapping[str, Sequence[Any]]) -> Grid:
    """A grid with what is given instead of its own."""
    return dataclasses.replace(grid, **{key: tuple(values) for key, values in given.items() if values})


def narrowed(grid: Grid, places: Mapping[str, Sequence[str]]) -> Grid:
    """What is left of a grid where only some data sets or backbones are asked for."""
    own = {key: tuple(name for name in getattr(grid, key) if name in names) for key, names in places.items() if names}
    return dataclasses.replace(grid, **own)


def method_labels(word: str) -> list[str]:
    """The label itself, or those that a Python file registers, with the changes that follow it in brackets."""
    name, bracket, changes = word.partition("[")
    return [label + bracket + changes for label in methods.add_file(Path(name))] if name.endswith(".py") else [word]


def trials_of(grid: Grid, protocol: Protocol, *, changes: Table, data: Path, plugins: Sequence[str]) -> Iterator[Run]:
    """The runs of a grid, of any one seed."""
    for dataset, backbone, method in itertools.product(grid.datasets, grid.backbones, dict.fromkeys(grid.methods)):
        yield resolve(
            protocol,
            method=method,
            dataset=dataset,
            backbone=backbone,
            seed=0,
            changes=changes,
            data=data,
            chosen=grid.evaluations,
            refine=grid.refinements,
            evaluate_on=grid.evaluate_on,
            plugins=plugins,
        )


def changes_of(request: Request, names: Container[str], labels: Sequence[str]) -> Table:
    """What the command line changes of the protocol.

    Args:
        request: what is asked for.
        names: of the methods that take part.
        labels: of the protocol's evaluations and refinements.

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
        elif missing := lacking(run, record):
            todo.append(dataclasses.replace(run, evaluations=missing))
        else:
            done.append(run)
    return Plan(tuple(todo), tuple(done))
