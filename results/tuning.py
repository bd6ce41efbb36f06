"""What a search for hyper-parameters leaves in a runs folder: its trials, and the runs that used what was chosen.

Tuning is a property of a comparison and not of a run: the settings of a trial, and those that were chosen, are ordinary
settings of ordinary runs. Two kinds of files in the folder ``tuning`` say which runs play which part::

    search-<hash8>.json      the space and the trials of every method, on one data set with one backbone
    tuned-<name>.json        the runs of a protocol whose settings a search has chosen
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from results.errors import BenchError
from results.schema import added, build, to_plain
from results.store import read_json, read_run, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FOLDER = "tuning"
"""Its name in the runs folder."""


@dataclass(frozen=True)
class Trial:
    """One setting of a method's hyper-parameters, tried on held-out training images.

    Attributes:
        setting: values by target, such as ``pretrain.lr``; empty for the protocol's own, which is trial 0.
        runs: name of the run's folder, by seed; empty for a trial that successive halving has stopped before.
        shorter: the same of its runs with shorter budgets, the shortest first.
    """

    setting: dict[str, Any]
    runs: dict[str, str]
    shorter: tuple[dict[str, str], ...] = added(())

    @property
    def folders(self) -> Iterator[str]:
        """The folders of all its runs."""
        return (run for runs in (*self.shorter, self.runs) for run in runs.values())


@dataclass(frozen=True)
class MethodSearch:
    """The trials of one method.

    Attributes:
        space: by target the scale (``log``, ``linear`` or ``choice``) and its bounds or choices.
        trials: in the order in which they were drawn; the first is the default.
    """

    space: dict[str, dict[str, Any]]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Search:
    """A search for hyper-parameters, with equal trials for every method.

    Attributes:
        dataset: that the choice is for; trials use its held-out part.
        backbone: of all runs.
        protocol: label of the protocol that is tuned.
        evaluation: label of the evaluation whose top-1 accuracy decides.
        seeds: of every trial.
        sampler: that drew the settings.
        methods: their trials.
        halving: factor of successive halving: so many times fewer trials go on with a budget so many times as long.
    """

    dataset: str
    backbone: str
    protocol: str
    evaluation: str
    seeds: tuple[int, ...]
    sampler: str
    methods: dict[str, MethodSearch] = field(default_factory=dict)
    halving: int | None = added(None)

    @property
    def runs(self) -> Iterator[str]:
        """The folders of all trials."""
        return (run for one in self.methods.values() for trial in one.trials for run in trial.folders)

    def extended(self, other: Search) -> Search:
        """This search with the methods and trials that only another of the same identity has."""
        methods = {**other.methods, **self.methods}
        for name, one in other.methods.items():
            if len(one.trials) > len(methods[name].trials):
                methods[name] = one
        return replace(self, methods=methods)


@dataclass(frozen=True)
class TunedColumn:
    """The runs of a tuned protocol, which stand in one table.

    Attributes:
        label: of the table: the protocol that was tuned, and the number of trials.
        protocol: name of the tuned protocol.
        base: label of the protocol that was tuned.
        trials: of each method, or of the one that had most.
        methods: label of the method of every run, by the run's folder.
        fewest: trials of the method that had fewest, if methods had different numbers of them.
    """

    label: str
    protocol: str
    base: str
    trials: int
    methods: dict[str, str]
    fewest: int | None = added(None)

    @property
    def count(self) -> str:
        """The number of trials of each method: ``16``, or ``8 to 16`` where they differ."""
        return range_in_words(self.fewest, self.trials)


@dataclass(frozen=True)
class Tuning:
    """All searches and tuned columns of a runs folder.

    Attributes:
        searches: by the name of the file.
        columns: by the name of the file.
        problems: a line for each file that cannot be read.
    """

    searches: dict[str, Search] = field(default_factory=dict)
    columns: dict[str, TunedColumn] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def trials(self) -> frozenset[str]:
        """The folders of the trials of all searches."""
        return frozenset(run for search in self.searches.values() for run in search.runs)


def read_tuning(*folders: Path) -> Tuning:
    """The searches and tuned columns of runs folders, those of one name merged; what is damaged is a problem."""
    merged = Tuning()
    for one in map(read_tuning_folder, folders):
        searches = {name: search.extended(merged.searches.get(name, search)) for name, search in one.searches.items()}
        columns = {
            name: replace(column, methods={**column.methods, **merged.columns.get(name, column).methods})
            for name, column in one.columns.items()
        }
        merged = Tuning(
            {**merged.searches, **searches}, {**merged.columns, **columns}, (*merged.problems, *one.problems)
        )
    return merged


def read_tuning_folder(runs: Path) -> Tuning:
    """The searches and tuned columns of one runs folder."""
    try:
        paths = sorted(path for path in (runs / FOLDER).iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return Tuning()
    except OSError as error:
        return Tuning(problems=(f"cannot read {runs / FOLDER}: {error.strerror}",))
    found: dict[str, dict[str, Any]] = {"search": {}, "tuned": {}}
    problems = []
    for path in paths:
        kind: type[Any] | None = {"search": Search, "tuned": TunedColumn}.get(path.name.partition("-")[0])
        if kind is None:
            continue
        try:
            found[path.name.partition("-")[0]][path.stem] = build(kind, read_json(path) or {}, str(path))
        except BenchError as error:
            problems.append(error.message)
    return Tuning(found["search"], found["tuned"], tuple(problems))


def store_search(runs: Path, name: str, search: Search) -> Search:
    """Store a search, with the trials that an earlier one under its name has beyond its own.

    Returns:
        What is stored now.
    """
    earlier = read_tuning(runs).searches.get(name)
    whole = search.extended(earlier) if earlier else search
    if whole != earlier:
        (runs / FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(runs / FOLDER / f"{name}.json", to_plain(whole))
    return whole


def store_column(runs: Path, name: str, column: TunedColumn) -> None:
    """Store a tuned column, with the runs that an earlier one under its name has."""
    earlier = read_tuning(runs).columns.get(name)
    whole = replace(column, methods={**earlier.methods, **column.methods}) if earlier else column
    if whole != earlier:
        (runs / FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(runs / FOLDER / f"{name}.json", to_plain(whole))


def score(record: dict[str, Any], evaluation: str) -> float | None:
    """The top-1 accuracy, in percent, that an evaluation without refinement gave a run; None if it gave none."""
    values = [
        metric["value"]
        for metric in record["metrics"]
        if metric["label"] == evaluation and metric["metric"] == "top1" and not metric.get("refinement")
    ]
    return float(values[0]) if values else None


def range_in_words(fewest: int | None, most: int) -> str:
    """``16``, or ``8 to 16``."""
    return str(most) if fewest is None else f"{fewest} to {most}"


def mean_score(folders: Iterable[str], evaluation: str, runs: Path) -> float | None:
    """The mean of :func:`score` over some runs; NaN if one of them failed, None if one has not run to its end.

    Args:
        folders: of the runs.
        evaluation: its label.
        runs: the runs folder.
    """
    stored = [read_run(runs / folder) for folder in folders]
    values = [score(one.record, evaluation) if one.record else None for one in stored]
    found = [value for value in values if value is not None]
    if found and len(found) == len(values):
        return sum(found) / len(found)
    return math.nan if any(one.status == "failed" for one in stored) else None


def trial_scores(search: Search, runs: Path) -> dict[str, list[float | None]]:
    """The score of every trial: the mean over its seeds, or None if one of them has no record.

    Args:
        search: whose trials are read.
        runs: the runs folder.
    """
    found = {
        name: [mean_score(trial.runs.values(), search.evaluation, runs) for trial in one.trials]
        for name, one in search.methods.items()
    }
    return {
        name: [None if value is None or math.isnan(value) else value for value in values]
        for name, values in found.items()
    }


def choose(scores: list[float | None]) -> int | None:
    """The trial with the highest score, of equal ones the first, so that ties go to the default; None if none has."""
    known = [value for value in scores if value is not None]
    return scores.index(max(known)) if known else None


EDGE = 0.05
"""Part of a range at either end that counts as its edge."""


def position(dimension: dict[str, Any], value: Any) -> float:
    """Where a value lies between the bounds of a dimension that is no choice: 0 at the lowest, 1 at the highest."""
    ((scale, (low, high)),) = dimension.items()
    if scale == "log":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def values_at_edges(one: MethodSearch, index: int) -> dict[str, str]:
    """The targets whose value in a trial lies at an edge of the range, each with ``lower`` or ``upper``."""
    found = {}
    for target, value in one.trials[index].setting.items():
        if "choice" not in one.space[target]:
            where = position(one.space[target], value)
            if not EDGE < where < 1 - EDGE:
                found[target] = "lower" if where <= EDGE else "upper"
    return found


def describe_edges(one: MethodSearch, index: int) -> list[str]:
    """A sentence for each value of a trial that lies at an edge of its range."""
    return [
        f"{target} is at the {side} edge of its range; a wider one may hold a better value"
        for target, side in values_at_edges(one, index).items()
    ]
