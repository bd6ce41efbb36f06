"""A search: equal trials of every method on held-out training images, as ordinary runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocols.spec import protocol as protocols
from protocols.spec.grid import add_plugins, changes_of, grids_of
from protocols.spec.labels import HELD_OUT, SHARED, parse_label
from protocols.spec.plugins import METHODS
from protocols.spec.protocol import merge
from protocols.spec.resolve import overlay, resolve
from protocols.spec.run import digest_of
from protocols.tune.sampler import sobol_settings
from results.errors import RequestError
from results.names import UNTRAINED
from results.tuning import MethodSearch, Search, Trial, store_search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from protocols.spec.grid import Request
    from protocols.spec.protocol import Protocol, TomlTable
    from protocols.spec.run import Run
    from protocols.tune.space import Dimension, Spaces

SELECTION_SEEDS = (0,)
"""Seeds of every trial, unless others are asked for."""


@dataclass(frozen=True)
class PlannedSearch:
    """A search for one data set and one backbone.

    Attributes:
        name: of its file; the same for a search of more trials or further methods.
        search: what is stored of it.
        runs: of all trials, those of one number together, so that methods have equal trials whenever it is interrupted.
        protocol: that is tuned.
        changes: of the protocol by the command line, for every trial.
    """

    name: str
    search: Search
    runs: tuple[Run, ...]
    protocol: Protocol
    changes: TomlTable


MOST_TRIALS = 10_000
"""Trials of a method; more is a slip of the keyboard."""


def plan_searches(
    request: Request, data: Path, spaces: Spaces, *, trials: int, evaluation: str = ""
) -> list[PlannedSearch]:
    """The trials that a request stands for: a search for each of its data sets and backbones.

    Args:
        request: as for a grid; its seeds are those of every trial. Trials are not refined, and have one evaluation.
        data: folder of the data sets.
        spaces: of the methods.
        trials: of each method, the default among them.
        evaluation: label of the one that decides; by default the first of the request, else of the protocol.

    Raises:
        RequestError: a name, a key or a value is wrong, or a method has nothing to tune.
    """
    if trials > MOST_TRIALS:
        raise RequestError(f"{trials:,} are more than {MOST_TRIALS:,} trials of each method", hint="ask for fewer")
    request = add_plugins(request)
    protocol = protocols.load(request.protocol)
    if protocol.tuned:
        raise RequestError(f"{protocol.name} is tuned already", hint="tune the protocol that it extends")
    if request.evaluate_on or request.refinements:
        raise RequestError(
            "trials are neither refined nor evaluated on other data", hint="leave both to the tuned runs"
        )
    grids = grids_of(request, protocol)
    methods = list(dict.fromkeys(method for grid in grids for method in grid.methods))
    changes = changes_of(request, methods, protocol.labels())
    searched = {name: space_to_search(name, spaces, trials) for name in methods if is_tunable(name, request)}
    settings = {name: sobol_settings(name, space, trials) for name, space in searched.items()}
    seeds = tuple(request.seeds) or SELECTION_SEEDS
    pairs = dict.fromkeys(
        (dataset, backbone) for grid in grids for dataset in grid.datasets for backbone in grid.backbones
    )

    def trial_run(dataset: str, backbone: str, method: str, setting: Mapping[str, Any], seed: int) -> Run:
        run = resolve(
            protocol,
            method=method,
            dataset=HELD_OUT + dataset.removeprefix(HELD_OUT),
            backbone=backbone,
            seed=seed,
            changes=overlay(changes, changes_of_setting(method, setting)),
            data=data,
            evaluate=[evaluation] if evaluation else request.evaluations[:1],
            plugins=request.plugins,
        )
        (first, *_) = run.evaluations
        return dataclasses.replace(run, evaluations=(first,))

    planned = []
    for dataset, backbone in pairs:
        of_methods: dict[str, MethodSearch] = {}
        runs: dict[tuple[int, str, int], Run] = {}
        for method, space in searched.items():
            made: list[Trial] = []
            for index, setting in enumerate(settings[method]):
                folders = {}
                for seed in seeds:
                    run = runs[index, method, seed] = trial_run(dataset, backbone, method, setting, seed)
                    folders[str(seed)] = run.folder()
                made.append(Trial(setting, folders))
            of_methods[method] = MethodSearch({d.target: d.to_plain() for d in space}, tuple(made))
        default = next(iter(runs.values()))
        search = Search(
            dataset=dataset.removeprefix(HELD_OUT),
            backbone=backbone,
            protocol=trial_run(dataset, backbone, methods[0], {}, seeds[0]).label,
            evaluation=default.evaluations[0].label,
            seeds=seeds,
            sampler="sobol",
            methods=of_methods,
        )
        identity = {
            **{item.name: getattr(search, item.name) for item in dataclasses.fields(search) if item.name != "methods"},
            "preset": protocol.name,
            "changes": changes,
            "spaces": spaces.tables,
        }
        ordered = sorted(runs, key=lambda key: (key[0], list(searched).index(key[1]), key[2]))
        name = f"search-{digest_of(identity)[:8]}"
        planned.append(PlannedSearch(name, search, tuple(runs[key] for key in ordered), protocol, changes))
    return planned


def store_searches(planned: Iterable[PlannedSearch], folder: Path) -> None:
    """Say in a runs folder which of its runs are trials of these searches."""
    for one in planned:
        store_search(folder, one.name, one.search)


def is_tunable(method: str, request: Request) -> bool:
    """Whether a method of the protocol is trained and so has something to tune.

    Raises:
        RequestError: it has not, and was asked for; or it is a label with changes.
    """
    name, inline = parse_label(method)
    if inline:
        raise RequestError(f"{method}: tune takes names of methods", hint="fix options with --set METHOD.KEY=VALUE")
    if METHODS.describe(name).declared["baseline"] not in UNTRAINED:
        return True
    if request.methods:
        raise RequestError(
            f"{name} is not trained and has nothing to tune", hint="leave it out; the tuned runs have it"
        )
    return False


def space_to_search(method: str, spaces: Spaces, trials: int) -> list[Dimension]:
    """The search space of a method.

    Raises:
        RequestError: it has none.
    """
    space = spaces.of(method)
    if not space and trials > 1:
        raise RequestError(
            f"{method} has no search space",
            hint=f"add [tune] or [tune.{method}] to {spaces.where}, or SPACE to the method",
        )
    return space


def changes_of_setting(method: str, setting: Mapping[str, Any]) -> TomlTable:
    """What a trial changes of the protocol, nested like ``--set``: ``[pretrain]`` for its method alone."""
    changes: TomlTable = {}
    for target, value in setting.items():
        keys = target.split(".")
        inner: Any = list(value) if isinstance(value, tuple) else value
        for key in reversed(keys if keys[0] in SHARED and keys[0] != "pretrain" else [method, *keys]):
            inner = {key: inner}
        merge(changes, inner)
    return changes
