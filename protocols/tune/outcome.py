"""The outcome of a search: a protocol that extends the tuned one by the settings that were chosen."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from protocols.spec import protocol as protocols
from protocols.spec.labels import SHARED
from protocols.spec.plugins import METHODS
from protocols.spec.protocol import MEASURED, Tuned
from protocols.spec.resolve import overlay
from protocols.tune.search import changes_of_setting
from results.errors import RequestError
from results.names import UNTRAINED
from results.schema import to_plain
from results.tuning import TunedColumn, choose, range_in_words, store_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from protocols.spec.grid import Request
    from protocols.spec.protocol import TomlTable
    from protocols.spec.run import Run
    from protocols.tune.search import PlannedSearch

FRESH_SEEDS = 5
"""Seeds that the grid of a tuned protocol has, ten above the highest of the trials."""


def chosen_trials(scores: Mapping[str, list[float | None]]) -> dict[str, int]:
    """The number of the trial that is chosen for each method.

    Args:
        scores: of every trial, by method; see ``results.tuning.trial_scores``.

    Raises:
        RequestError: no trial of a method has finished.
    """
    chosen = {}
    for method, values in scores.items():
        best = choose(values)
        if best is None:
            raise RequestError(f"no trial of {method} has finished", hint="bench report says why")
        chosen[method] = best
    return chosen


def tuned_protocol(planned: PlannedSearch, chosen: Mapping[str, int], *, to: Path, base: str) -> str:
    """The text of the tuned protocol's file.

    Args:
        planned: the search.
        chosen: number of the chosen trial, by method.
        to: where the file will be.
        base: name or path of the protocol that was tuned.
    """
    search, tuned = planned.search, tuned_table(planned)
    count = range_in_words(tuned.fewest, tuned.trials)
    extends = os.path.relpath(base, to.parent) if base.endswith(".toml") else base
    untrained = [
        name
        for grid in planned.protocol.grids
        for name in grid.methods
        if name in METHODS and METHODS.describe(name).declared["baseline"] in UNTRAINED
    ]
    first = max(search.seeds) + 10
    changes = overlay(planned.changes)
    settings = {method: search.methods[method].trials[index].setting for method, index in chosen.items()}
    of_methods: dict[str, TomlTable] = {}
    of_views: dict[str, TomlTable] = {}
    for method, setting in settings.items():
        changed = overlay(changes_of_setting(method, setting))
        of_methods[method] = overlay(changes.pop(method, {}), changed.pop(method, {}))
        of_views[method] = changed
    tables: TomlTable = {key: changes.pop(key) for key in SHARED if key in changes}
    labels = {
        kind: {*planned.protocol.for_run(dataset="", backbone="", method="")[0].get(kind, {})} for kind in MEASURED
    }
    for kind in MEASURED:
        if found := {key: changes.pop(key) for key in list(changes) if key in labels[kind]}:
            tables[kind] = found
    tables["methods"] = {**{key: value for key, value in changes.items() if key in METHODS}, **of_methods}
    grid = {
        "methods": [*search.methods, *dict.fromkeys(untrained)],
        "datasets": [search.dataset],
        "backbones": [search.backbone],
        "seeds": list(range(first, first + FRESH_SEEDS)),
        **({"evaluations": list(planned.evaluations)} if planned.evaluations else {}),
    }
    lines = [
        f"# Written by bench tune: chosen by {search.evaluation} on held-out training images; trial 0 is the default.",
        f"extends = {toml(extends)}",
        f"name = {toml(to.stem)}",
        f"summary = {toml(f'{search.protocol} with settings chosen among {count} trials of each method')}",
        *["", "[grid]", *assignments(grid)],
        *["", "[tuned]", *assignments(to_plain(tuned))],
    ]
    for section, table in tables.items():
        if section in SHARED and section != "recipes":
            lines += ["", f"[{section}]", *assignments(table)]
        else:
            for name, inner in table.items():
                if inner:
                    comment = f" # trial {chosen[name]}" if name in chosen else ""
                    lines += ["", f"[{section}.{name}]{comment}", *assignments(inner)]
    for method, table in of_views.items():
        if table:
            lines += ["", "[[when]]", f"method = {toml(method)}", *assignments(table)]
    return "\n".join(lines) + "\n"


def tuned_table(planned: PlannedSearch) -> Tuned:
    """What the tuned protocol of a search says of it."""
    search = planned.search
    counts = {len(one.trials) for one in search.methods.values()}
    return Tuned(
        search=planned.name,
        protocol=search.protocol,
        dataset=search.dataset,
        backbone=search.backbone,
        evaluation=search.evaluation,
        trials=max(counts),
        seeds=search.seeds,
        methods=tuple(search.methods),
        halving=search.halving,
        fewest=min(counts) if len(counts) > 1 else None,
    )


def assignments(table: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The lines of a TOML table; inner tables become dotted keys."""
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from assignments(value, name)
        else:
            yield f"{name} = {toml(value)}"


def toml(value: Any) -> str:
    """A number, text, truth value, or a list of these, in TOML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def store_tuned_runs(request: Request, planned: Iterable[Run], folder: Path) -> None:
    """Say in a runs folder which of its runs belong to a tuned protocol; nothing if that is not tuned.

    Args:
        request: that the runs come from.
        planned: the runs.
        folder: of the runs.
    """
    protocol = protocols.load(request.protocol)
    if protocol.tuned:
        count = range_in_words(protocol.tuned.fewest, protocol.tuned.trials)
        halved = f", halved by {protocol.tuned.halving}" if protocol.tuned.halving else ""
        column = TunedColumn(
            label=f"{protocol.tuned.protocol}, best of {count} trials{halved}",
            protocol=protocol.name,
            base=protocol.tuned.protocol,
            trials=protocol.tuned.trials,
            methods={run.folder(): run.method.name for run in planned},
            fewest=protocol.tuned.fewest,
        )
        store_column(folder, f"tuned-{protocol.name}", column)
