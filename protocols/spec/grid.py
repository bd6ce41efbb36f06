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
from protocols.spec.earlier_images import with_earlier_digests
from protocols.spec.labels import SHARED, is_path, parse_label, split_list, split_names
from protocols.spec.plugins import METHODS, REFINEMENTS, REGISTRIES, add_file
from protocols.spec.protocol import BUDGETS
from protocols.spec.resolve import missing_evaluations, parse_changes, resolve
from results.errors import RequestError
from results.index import finished_runs
from results.names import UNTRAINED, display_name
from results.record import LARGEST_INTEGER
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from protocols.datasets.base import Progress
    from protocols.spec.protocol import Grid, Protocol, TomlTable, Tuned
    from protocols.spec.run import Evaluation, Run


@dataclass(frozen=True)
class Request:
    """The request of a user; empty fields are decided by the protocol.

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
        flops: budget in floating-point operations.
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
    flops: float | None = None
    settings: Sequence[str] = ()
    plugins: Sequence[str] = ()

    @property
    def budget(self) -> TomlTable:
        """The budgets that are given, as in ``[pretrain]``."""
        return {name: value for name in BUDGETS if (value := getattr(self, name)) is not None}

    @property
    def is_blank(self) -> bool:
        """Whether all fields are empty and the protocol is the default."""
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


MOST_SEEDS = 10_000
"""Seeds in one range; more is a slip of the keyboard."""


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
        longest = max(map(len, match[0].split("-")))  # an int of thousands of digits cannot be made
        if longest > len(str(LARGEST_INTEGER)) or int(match[2] or match[1]) > LARGEST_INTEGER:
            raise RequestError(f"--seeds: {word[:40]} is too large", hint=f"seeds go up to {LARGEST_INTEGER}")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise RequestError(f"--seeds {text!r}: {word} is empty", hint=f"write {last}-{first}")
        if last - first >= MOST_SEEDS:
            raise RequestError(f"--seeds {text!r}: {word} is more than {MOST_SEEDS:,} seeds", hint="ask for fewer")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def parse_request(
    *,
    methods: str | None = None,
    datasets: str | None = None,
    backbones: str | None = None,
    seeds: str | None = None,
    protocol: str = "quick",
    evaluations: str | None = None,
    refine: str | None = None,
    evaluate_on: str | None = None,
    epochs: float | None = None,
    views: int | None = None,
    flops: float | None = None,
    settings: Sequence[str] = (),
    plugins: Sequence[str] = (),
    data: Path = Path(),
) -> Request:
    """Parse the options of the command line to a request; what is None was not given.

    ``data`` is the folder of the data sets.

    Raises:
        RequestError: the seeds are not whole numbers, or an option is empty.
    """

    def words(flag: str, text: str | None) -> list[str]:
        found = split_names(text or "", data)
        if text is not None and not found:
            raise RequestError(f"--{flag} is empty", hint="name something, or leave it out")
        return found

    return Request(
        methods=words("methods", methods),
        datasets=words("datasets", datasets),
        backbones=words("backbones", backbones),
        seeds=parse_seeds(",".join(words("seeds", seeds))),
        protocol=protocol,
        evaluations=words("evaluations", evaluations),
        refinements=words("refine", refine),
        evaluate_on=words("evaluate-on", evaluate_on),
        epochs=epochs,
        views=views,
        flops=flops,
        settings=settings,
        plugins=plugins,
    )


FILE_OPTIONS = ("methods", "datasets", "backbones", "evaluations", "refinements")
"""Fields of a request in which a Python file may stand for the plugins that it registers."""

FLAGS = {"refinements": "refine"}
"""Options of the command line whose name differs from the kind of plugin that they take."""


def add_plugins(request: Request) -> Request:
    """Add the Python files of a request, and replace each by the names that it registers.

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
            file, bracket, changes = (word, "", "") if is_path(word, Path()) else word.partition("[")
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


def expand(request: Request, data: Path, progress: Progress | None = None) -> list[Run]:
    """Expand a request to runs, without repetition, ordered by seed so that an unfinished grid has all methods.

    Args:
        request: what is asked for.
        data: folder of the data sets.
        progress: called while the images of a data set are read to identify it.

    Raises:
        RequestError: a name, a key or a value is wrong.
    """
    request = add_plugins(request)
    protocol = protocols.load(request.protocol)
    grids = grids_of(request, protocol)
    names = {parse_label(word)[0] for grid in grids for word in grid.methods}
    if protocol.tuned:
        if request.settings or request.budget:
            raise RequestError(
                f"the settings of {protocol.name} were chosen for its own budget and options",
                hint="leave --set, --epochs, --views and --flops out, or give them to bench tune",
            )
        require_tuned(protocol.tuned, grids)
    changes = changes_of(request, names, protocol.labels())
    without_seed = [
        (grid.seeds[:1] if run.baseline == "external" else grid.seeds, run)
        for grid in grids
        for run in runs_of(grid, protocol, changes=changes, data=data, plugins=request.plugins, progress=progress)
    ]
    require_used(changes, [run for _, run in without_seed])
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(seed for grid in grids for seed in grid.seeds):
        for run in (dataclasses.replace(run, seed=seed) for seeds, run in without_seed if seed in seeds):
            folder = run.folder()
            runs[folder] = run.with_evaluations(runs[folder].evaluations) if folder in runs else run
    return list(runs.values())


def require_used(changes: TomlTable, runs: Sequence[Run]) -> None:
    """Check that every evaluation, refinement and augmentation that ``--set`` changes is part of the grid.

    Raises:
        RequestError: one is not; its change would change no number.
    """
    parts = [part for run in runs for evaluation in run.evaluations for part in (evaluation, evaluation.refinement)]
    measured = {parse_label(part.label)[0] for part in parts if part}
    for target in changes:
        if target not in (*SHARED, *METHODS.names(), *measured):
            shown = display_name(target)
            kind, option = ("refinements", "--refine") if shown in REFINEMENTS else ("evaluations", "--evaluations")
            raise RequestError(
                f"--set changes {shown}, which is not among the {kind}", hint=f"add it: {option} {shown},…"
            )
    for name in changes.get("recipes", {}):
        if all(name in run.unused for run in runs):
            raise RequestError(f"--set changes recipes.{name}, which none of the methods uses", hint="leave it out")


def require_tuned(tuned: Tuned, grids: Sequence[Grid]) -> None:
    """Check that a grid of a tuned protocol has tuned methods only, and seeds that no trial has used.

    Raises:
        RequestError: it has others.
    """
    for label in dict.fromkeys(method for grid in grids for method in grid.methods):
        name, inline = parse_label(label)
        if METHODS.describe(name).declared["baseline"] not in UNTRAINED and (name not in tuned.methods or inline):
            raise RequestError(
                f"{label} was not tuned here; a table is tuned or default for all its methods",
                hint=f"choose among {', '.join(tuned.methods)}, or tune it with the others",
            )
    used = sorted({seed for grid in grids for seed in grid.seeds} & {*tuned.seeds})
    if used:
        raise RequestError(
            f"the settings were chosen with seed {used[0]}", hint="measure with fresh ones, such as --seeds 10-14"
        )


def grids_of(request: Request, protocol: Protocol) -> list[Grid]:
    """The protocol's grids, overridden by the fields of the request.

    Where there are several, the data sets and backbones asked for choose among them.

    Raises:
        RequestError: they choose none, or a grid names nothing of a kind.
    """
    given = {key: getattr(request, key) for key in ("methods", "seeds", "evaluations", "refinements", "evaluate_on")}
    asked = {key: getattr(request, key) for key in ("datasets", "backbones")}
    if len(protocol.grids) == 1:
        return [require_whole(with_choices(protocol.grids[0], {**given, **asked}), protocol)]
    for key, names in asked.items():
        offered = list(dict.fromkeys(name for grid in protocol.grids for name in getattr(grid, key)))
        if missing := [name for name in names if name not in offered]:
            hint = f"its {key} are {', '.join(offered)}"
            raise RequestError(f"{protocol.name} has no runs of {', '.join(missing)}", hint=hint)
    grids = [
        dataclasses.replace(
            grid,
            **{key: tuple(n for n in getattr(grid, key) if n in names) for key, names in asked.items() if names},
        )
        for grid in protocol.grids
    ]
    left = [require_whole(with_choices(grid, given), protocol) for grid in grids if grid.datasets and grid.backbones]
    if not left:
        pairs = dict.fromkeys(
            f"{' or '.join(grid.datasets)} with {' or '.join(grid.backbones)}" for grid in protocol.grids
        )
        raise RequestError(f"{protocol.name} has no such runs", hint=f"it has {'; '.join(pairs)}")
    return left


def with_choices(grid: Grid, given: Mapping[str, Sequence[Any]]) -> Grid:
    """A grid with some fields replaced."""
    return dataclasses.replace(grid, **{key: tuple(values) for key, values in given.items() if values})


def require_whole(grid: Grid, protocol: Protocol) -> Grid:
    """The grid, if it names methods, data sets, backbones and seeds.

    Raises:
        RequestError: it does not.
    """
    for kind in ("methods", "datasets", "backbones", "seeds"):
        if not getattr(grid, kind):
            raise RequestError(f"the grid of {protocol.name} names no {kind}", hint=f"add --{kind}")
    return grid


def runs_of(
    grid: Grid,
    protocol: Protocol,
    *,
    changes: TomlTable,
    data: Path,
    plugins: Sequence[str],
    progress: Progress | None = None,
) -> Iterator[Run]:
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
            progress=progress,
        )


def changes_of(request: Request, names: Container[str], labels: Sequence[str]) -> TomlTable:
    """Changes of the protocol by the command line.

    Args:
        request: what is asked for.
        names: of the methods of the grid.
        labels: of the protocol's evaluations and refinements.

    Raises:
        RequestError: it changes a method that is not in the grid, or names several budgets.
    """
    changes = parse_changes(request.settings, labels)
    for target in changes:
        if target in METHODS and target not in names:
            raise RequestError(
                f"--set changes {target}, which is not among the methods", hint=f"add it: --methods {target},…"
            )
    set_here = [f"--set pretrain.{name}" for name in BUDGETS if name in changes.get("pretrain", {})]
    if len(budgets := [*(f"--{name}" for name in request.budget), *set_here]) > 1:
        raise RequestError(f"{' and '.join(budgets)} exclude each other", hint="give one budget")
    if request.budget:
        changes["pretrain"] = {**changes.get("pretrain", {}), **request.budget}
    return changes


def plan(runs: Sequence[Run], folder: Path, data: Path, *, force: bool = False) -> Plan:
    """Divide runs into those that are done and those to execute.

    Args:
        runs: the grid.
        folder: of the runs.
        data: folder of the data sets.
        force: count nothing as done.

    Raises:
        RequestError: the file that says which images earlier runs were made of is damaged.
    """
    runs = with_earlier_digests(runs, folder, data)
    todo: list[Run] = []
    done: list[Run] = []
    finished = {} if force else finished_runs(folder, [run.folder() for run in runs])
    known: dict[tuple[str, int], tuple[Evaluation, ...]] = {}
    for run in runs:
        summary = finished.get(run.folder())
        if summary is None:
            todo.append(run)
            continue
        key = summary["measured"], id(run.evaluations)  # the runs of a grid that differ in their seed share these
        if key not in known:
            record = read_run(folder / run.folder()).record
            known[key] = run.evaluations if record is None else missing_evaluations(run, record)
        if known[key]:
            todo.append(dataclasses.replace(run, evaluations=known[key]))
        else:
            done.append(run)
    return Plan(tuple(todo), tuple(done))
