"""A search: equal trials of every method on held-out training images, as ordinary runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protocols.spec import protocol as protocols
from protocols.spec.grid import add_plugins, changes_of, grids_of, require_used, runs_of
from protocols.spec.labels import HELD_OUT, SHARED, parse_label
from protocols.spec.plugins import METHODS
from protocols.spec.protocol import merge
from protocols.spec.resolve import overlay, resolve
from protocols.spec.run import digest_of
from protocols.tune.halving import rounds_of, shortened_budget, survivors
from protocols.tune.sampler import sobol_settings, tpe_settings
from protocols.tune.space import flatten
from results.errors import RequestError
from results.names import UNTRAINED, display_name
from results.tuning import MethodSearch, Search, Trial, mean_score, store_search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from protocols.spec.grid import Request
    from protocols.spec.protocol import Protocol, TomlTable
    from protocols.spec.run import Run
    from protocols.tune.space import Dimension, Spaces

Sampler = Literal["sobol", "tpe"]
"""What draws the settings of trials."""

IDENTITY = ("dataset", "backbone", "protocol", "evaluation", "seeds", "sampler")
"""Fields of a search that its name follows from."""

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
        later: number of further runs, which follow from the results of these.
        evaluations: labels that were asked for, of the tuned runs; those of the protocol if there are none.
    """

    name: str
    search: Search
    runs: tuple[Run, ...]
    protocol: Protocol
    changes: TomlTable
    later: int = 0
    evaluations: tuple[str, ...] = ()

    @property
    def repeats_failed(self) -> bool:
        """Whether failed trials are executed again; not where what followed was decided knowing that they failed."""
        return self.search.sampler == "sobol" and not self.search.halving


MOST_TRIALS = 10_000
"""Trials of a method; more is a slip of the keyboard."""


def plan_searches(
    request: Request,
    data: Path,
    spaces: Spaces,
    *,
    trials: int | Mapping[str, int],
    evaluation: str = "",
    sampler: Sampler = "sobol",
    halving: int | None = None,
    runs: Path = Path("runs"),
) -> list[PlannedSearch]:
    """The trials that a request stands for: a search for each of its data sets and backbones.

    With TPE or successive halving they are those that follow from the results so far.

    Args:
        request: as for a grid; its seeds are those of every trial. Trials are not refined, and have one evaluation.
        data: folder of the data sets.
        spaces: of the methods.
        trials: of each method, the default among them; or a number by method.
        evaluation: label of the one that decides; by default the first of the request, else of the protocol.
        sampler: that draws the settings.
        halving: factor of successive halving, see ``rounds_of``; None for the whole budget from the beginning.
        runs: the runs folder, where results are.

    Raises:
        RequestError: a name, a key or a value is wrong, or a method has nothing to tune.
    """
    if (most := max(trials.values(), default=0) if isinstance(trials, Mapping) else trials) > MOST_TRIALS:
        raise RequestError(f"{most:,} are more than {MOST_TRIALS:,} trials of each method", hint="ask for fewer")
    if sampler == "tpe" and halving:
        raise RequestError("--halving and --sampler tpe exclude each other", hint="use --sampler sobol")
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
    require_kept(changes, protocol)
    runs_of_grids = (runs_of(grid, protocol, changes=changes, data=data, plugins=request.plugins) for grid in grids)
    require_used(changes, [run for grid_runs in runs_of_grids for run in grid_runs])
    counts = trials if isinstance(trials, Mapping) else dict.fromkeys(methods, trials)
    searched = {
        name: space_to_search(name, spaces, counts[name], changes) for name in methods if is_tunable(name, request)
    }
    seeds = tuple(request.seeds) or SELECTION_SEEDS
    pairs = dict.fromkeys(
        (dataset, backbone) for grid in grids for dataset in grid.datasets for backbone in grid.backbones
    )

    def trial_run(  # noqa: PLR0917 - its first arguments are bound
        dataset: str, backbone: str, method: str, setting: Mapping[str, Any], seed: int, divisor: int = 1
    ) -> Run:
        changed = overlay(changes, changes_of_setting(method, setting))
        if divisor > 1:
            whole = trial_run(dataset, backbone, method, setting, seed).pretrain
            changed = overlay(changed, {method: {"pretrain": shortened_budget(whole, divisor)}})
        run = resolve(
            protocol,
            method=method,
            dataset=HELD_OUT + dataset.removeprefix(HELD_OUT),
            backbone=backbone,
            seed=seed,
            changes=changed,
            data=data,
            evaluate=[evaluation] if evaluation else request.evaluations[:1],
            plugins=request.plugins,
        )
        (first, *_) = run.evaluations
        return dataclasses.replace(run, evaluations=(first,))

    planned = []
    for dataset, backbone in pairs:
        default = trial_run(dataset, backbone, next(iter(searched)), {}, seeds[0])
        label = default.evaluations[0].label
        of_methods: dict[str, MethodSearch] = {}
        made: dict[tuple[int, int, int, int], Run] = {}  # by round, trial, method and index of the seed
        later = 0
        for number, (method, space) in enumerate(searched.items()):
            found = trials_of_method(
                method,
                space,
                counts[method],
                sampler=sampler,
                halving=halving,
                seeds=seeds,
                run=partial(trial_run, dataset, backbone, method),
                score=partial(mean_score, evaluation=label, runs=runs),
            )
            of_methods[method] = MethodSearch({d.target: d.to_plain() for d in space}, found.trials)
            made |= {(part, index, number, seed_index): run for (part, index, seed_index), run in found.runs.items()}
            later += found.later
        search = Search(
            dataset=dataset.removeprefix(HELD_OUT),
            backbone=backbone,
            protocol=trial_run(dataset, backbone, methods[0], {}, seeds[0]).label,
            evaluation=label,
            seeds=seeds,
            sampler=sampler,
            methods=of_methods,
            halving=halving,
        )
        identity = {
            **{key: getattr(search, key) for key in IDENTITY},
            **({"halving": halving, "trials": counts} if halving else {}),
            "preset": protocol.name,
            "changes": changes,
            "spaces": spaces.tables,
        }
        name = f"search-{digest_of(identity)[:8]}"
        ordered = tuple(made[key] for key in sorted(made))
        planned.append(PlannedSearch(name, search, ordered, protocol, changes, later, tuple(request.evaluations)))
    return planned


@dataclass(frozen=True)
class PlannedTrials:
    """The trials of one method.

    Attributes:
        trials: in the order in which they were drawn.
        runs: of all of them, by round, number of the trial and index of the seed.
        later: number of further runs, which follow from the results of these.
    """

    trials: tuple[Trial, ...]
    runs: dict[tuple[int, int, int], Run]
    later: int


def trials_of_method(
    method: str,
    space: Sequence[Dimension],
    count: int,
    *,
    sampler: Sampler,
    halving: int | None,
    seeds: Sequence[int],
    run: Callable[[Mapping[str, Any], int, int], Run],
    score: Callable[[Iterable[str]], float | None],
) -> PlannedTrials:
    """The trials of a method that follow from the results so far.

    Args:
        method: its name.
        space: of the method.
        count: trials.
        sampler: that draws the settings.
        halving: factor of successive halving, or None.
        seeds: of every trial.
        run: makes the run of a setting, a seed, and the divisor of its budget.
        score: of some runs, by their folders; see ``results.tuning.mean_score``.
    """
    if sampler == "tpe":
        settings = tpe_settings(
            method, space, count, lambda setting: score([run(setting, seed, 1).folder() for seed in seeds])
        )
    else:
        settings = sobol_settings(method, space, count)
    rounds = rounds_of(count, halving)
    runs: dict[tuple[int, int, int], Run] = {}
    folders: list[list[dict[str, str]]] = [[] for _ in settings]
    left, later = list(range(len(settings))), (count - len(settings)) * len(seeds)
    for part, (_, divisor) in enumerate(rounds):
        for index in left:
            made = [run(settings[index], seed, divisor) for seed in seeds]
            runs |= {(part, index, seed_index): one for seed_index, one in enumerate(made)}
            folders[index].append({str(one.seed): one.folder() for one in made})
        if part == len(rounds) - 1:
            break
        scores = [score(folders[index][part].values()) for index in left]
        known = [one for one in scores if one is not None]
        if len(known) < len(scores):
            later = sum(size for size, _ in rounds[part + 1 :]) * len(seeds)
            break
        left = [left[survivor] for survivor in survivors(known, rounds[part + 1][0])]
    last = len(rounds) - 1
    trials = tuple(
        Trial(setting, one[last] if len(one) > last else {}, tuple(one[:last]))
        for setting, one in zip(settings, folders, strict=True)
    )
    return PlannedTrials(trials, runs, later)


def store_searches(planned: Iterable[PlannedSearch], folder: Path) -> None:
    """Say in a runs folder which of its runs are trials of these searches."""
    for one in planned:
        store_search(folder, one.name, one.search)


def require_kept(changes: TomlTable, protocol: Protocol) -> None:
    """Check that a tuned protocol can say all that ``--set`` changes.

    Raises:
        RequestError: an evaluation or refinement is changed that the protocol does not have.
    """
    for target in changes:
        if target not in (*SHARED, *METHODS.names(), *protocol.labels()):
            raise RequestError(
                f"--set changes {display_name(target)}, which {protocol.name} does not have, nor the tuned protocol",
                hint="put it into a protocol of your own, and tune that",
            )


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


def space_to_search(method: str, spaces: Spaces, trials: int, changes: TomlTable) -> list[Dimension]:
    """The search space of a method, without what ``--set`` fixes.

    Raises:
        RequestError: it has none.
    """
    of_method = changes.get(method, {})
    shared = overlay({key: changes.get(key, {}) for key in SHARED}, {"pretrain": of_method.get("pretrain", {})})
    fixed = {**dict(flatten(shared)), **dict(flatten(of_method))}
    space = [dimension for dimension in spaces.of(method) if dimension.target not in fixed]
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
