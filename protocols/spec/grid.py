"""From the options of the command line to the runs of a grid, and which of them are not done. Never imports torch."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec import protocol as protocols
from protocols.spec.labels import parse_label, split_list
from protocols.spec.plugins import METHODS, REGISTRIES, add_file
from protocols.spec.resolve import missing_evaluations, parse_changes, resolve
from results.errors import RequestError
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from protocols.spec.protocol import Grid, Protocol, TomlTable
    from protocols.spec.run import Run


@dataclass(frozen=True)
class Request:
    """What a user asks for; empty where the protocol decides.

    Attributes:
        methods: labels, or paths of Python files that register some.
        datasets: names, or paths of Python files that register some.
        backbones: names, or paths of Python files that register some.
        seeds: of the runs.
        protocol: name, or path of a TOML file.
        evaluations: labels, or paths of Python files that register some.
        refinements: labels, or paths of Python files that register some.
        evaluate_on: names of data sets to evaluate on.
        epochs: budget in epochs.
        views: budget in views.
        settings: the ``TARGET.KEY=VALUE`` of ``--set``.
        plugins: paths of Python files that register anything.
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
    plugins: Sequence[str] = ()

    @property
    def is_blank(self) -> bool:
        """Whether it leaves everything to the default protocol."""
        choices = {**vars(self), "protocol": self.protocol != Request.protocol}
        return not any(choices.values())


@dataclass(frozen=True)
class Plan:
    """The runs of a grid.

    Attributes:
        todo: to be started, resumed, or given the evaluations they lack, which are then all that they name.
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
    for word in split_list(text):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if not match:
            raise RequestError(f"--seeds {text!r}: {word!r} is not a whole number", hint="write 0,1,2 or 0-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise RequestError(f"--seeds {text!r}: {word} is empty", hint=f"write {last}-{first}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def parse_request(
    *,
    methods: str = "",
    datasets: str = "",
    backbones: str = "",
    seeds: str = "",
    protocol: str = "quick",
    evaluations: str = "",
    refine: str = "",
    evaluate_on: str = "",
    epochs: float | None = None,
    views: int | None = None,
    settings: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Request:
    """What the options of the command line ask for.

    Raises:
        RequestError: the seeds are not whole numbers.
    """
    return Request(
        methods=split_list(methods),
        datasets=split_list(datasets),
        backbones=split_list(backbones),
        seeds=parse_seeds(seeds),
        protocol=protocol,
        evaluations=split_list(evaluations),
        refinements=split_list(refine),
        evaluate_on=split_list(evaluate_on),
        epochs=epochs,
        views=views,
        settings=settings,
        plugins=plugins,
    )


FILE_OPTIONS = ("methods", "datasets", "backbones", "evaluations", "refinements")
"""What a request may name by the path of a Python file that registers it."""

FLAGS = {"refinements": "refine"}
"""Options of the command line that are not called like the kind of plugin they name."""


def add_plugins(request: Request) -> Request:
    """Make the Python files known that a request names, and put what they register in their place.

    Raises:
        RequestError: a file is not there, or registers nothing of the kind it is named for.
    """
    registered: dict[str, dict[str, list[str]]] = {}
    for file in request.plugins:
        registered[os.path.normpath(file)] = add_file(Path(file))
    replaced: dict[str, list[str]] = {}
    for kind in FILE_OPTIONS:
        words = replaced[kind] = []
        for word in getattr(request, kind):
            file, bracket, changes = word.partition("[")
            if not file.endswith(".py"):
                words.append(word)
                continue
            file = os.path.normpath(file)
            if file not in registered:
                registered[file] = add_file(Path(file))
            found = registered[file].get(kind, [])
            if not found:
                singular = REGISTRIES[kind].kind
                others = ", ".join(registered[file])
                options = [f"--{FLAGS.get(name, name)}" for name in registered[file] if name in FILE_OPTIONS]
                raise RequestError(
                    f"{file} registers no {singular}",
                    hint=f"it registers {others}: name it with {' or '.join([*options, '--plugins'])}",
                )
            words += [name + bracket + changes for name in found]
    return dataclasses.replace(request, plugins=tuple(registered), **replaced)  # type: ignore[arg-type]


def expand(request: Request, data: Path) -> list[Run]:
    """The grid: every seed first with all methods, so that a part of it already makes a table; no run twice.

    Args:
        request: what is asked for.
        data: folder of the data sets.

    Raises:
        RequestError: a name, a key or a value is wrong.
    """
    request = add_plugins(request)
    protocol = protocols.load(request.protocol)
    grids = grids_of(request, protocol)
    names = {parse_label(word)[0] for grid in grids for word in grid.methods}
    changes = changes_of(request, names, protocol.labels())
    without_seed = [
        (grid.seeds, run)
        for grid in grids
        for run in runs_of(grid, protocol, changes=changes, data=data, plugins=request.plugins)
    ]
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(seed for grid in grids for seed in grid.seeds):
        for run in (dataclasses.replace(run, seed=seed) for seeds, run in without_seed if seed in seeds):
            folder = run.folder()
            runs[folder] = run.with_evaluations(runs[folder].evaluations) if folder in runs else run
    return list(runs.values())


def grids_of(request: Request, protocol: Protocol) -> list[Grid]:
    """The protocol's grids, with what the request asks for instead.

    Where there are several, the data sets and backbones asked for choose among them.

    Raises:
        RequestError: they choose none.
    """
    given = {key: getattr(request, key) for key in ("methods", "seeds", "evaluations", "refinements", "evaluate_on")}
    asked = {key: getattr(request, key) for key in ("datasets", "backbones")}
    if len(protocol.grids) == 1:
        return [with_choices(protocol.grids[0], {**given, **asked})]
    grids = [
        dataclasses.replace(
            grid,
            **{key: tuple(n for n in getattr(grid, key) if n in names) for key, names in asked.items() if names},
        )
        for grid in protocol.grids
    ]
    left = [with_choices(grid, given) for grid in grids if grid.datasets and grid.backbones]
    if not left:
        pairs = dict.fromkeys(
            f"{' or '.join(grid.datasets)} with {' or '.join(grid.backbones)}" for grid in protocol.grids
        )
        raise RequestError(f"{protocol.name} has no such runs", hint=f"it has {'; '.join(pairs)}")
    return left


def with_choices(grid: Grid, given: Mapping[str, Sequence[Any]]) -> Grid:
    """A grid with what is given instead of its own."""
    return dataclasses.replace(grid, **{key: tuple(values) for key, values in given.items() if values})


def runs_of(grid: Grid, protocol: Protocol, *, changes: TomlTable, data: Path, plugins: Sequence[str]) -> Iterator[Run]:
    """The runs of a grid, with seed 0."""
    for dataset, backbone, method in itertools.product(grid.datasets, grid.backbones, dict.fromkeys(grid.methods)):
        yield resolve(
            protocol,
            method=method,
            dataset=dataset,
            backbone=backbone,
            seed=0,
            changes=changes,
            data=data,
            evaluate=grid.evaluations,
            refine=grid.refinements,
            evaluate_on=grid.evaluate_on,
            plugins=plugins,
        )


def changes_of(request: Request, names: Container[str], labels: Sequence[str]) -> TomlTable:
    """What the command line changes of the protocol.

    Args:
        request: what is asked for.
        names: of the methods of the grid.
        labels: of the protocol's evaluations and refinements.

    Raises:
        RequestError: it changes a method that is not in the grid, or names two budgets.
    """
    changes = parse_changes(request.settings, labels)
    for target in changes:
        if target in METHODS and target not in names:
            raise RequestError(
                f"--set changes {target}, which is not among the methods", hint=f"add it: --methods {target},…"
            )
    if request.epochs is not None and request.views is not None:
        raise RequestError("--epochs and --views exclude each other", hint="give one budget")
    budget = {"epochs": request.epochs, "views": request.views}
    given = {key: value for key, value in budget.items() if value is not None}
    if given:
        changes["pretrain"] = {**changes.get("pretrain", {}), **given}
    return changes


def plan(runs: Sequence[Run], folder: Path, *, force: bool = False) -> Plan:
    """Which of the runs are not done.

    Args:
        runs: the grid.
        folder: of the runs.
        force: count nothing as done.
    """
    todo: list[Run] = []
    done: list[Run] = []
    for run in runs:
        record = None if force else read_run(folder / run.folder()).record
        if record is None:
            todo.append(run)
        elif missing := missing_evaluations(run, record):
            todo.append(dataclasses.replace(run, evaluations=missing))
        else:
            done.append(run)
    return Plan(tuple(todo), tuple(done))
