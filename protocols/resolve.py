"""From a protocol and the command line's changes to resolved runs. Never imports torch."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from methods.registry import registry as methods
from protocols.backbones import registry as backbones
from protocols.datasets import HELD_OUT
from protocols.datasets import registry as datasets
from protocols.datasets.load import source_of
from protocols.evaluate import registry as evaluations
from protocols.labels import SHARED, label, nested, parse_label
from protocols.parse import build, convert
from protocols.protocol import Pretrain, Recipe, Table, merge
from protocols.refine import registry as refinements
from protocols.run import Evaluation, Part, Run
from results.errors import RequestError, UnknownName, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from methods.registry import Registry
    from methods.source import Entry
    from protocols.protocol import Protocol


def parse_changes(settings: Iterable[str], labels: Iterable[str] = ()) -> Table:
    """Nest the ``TARGET.KEY=VALUE`` of ``--set``; values are read as TOML, what is not TOML as text.

    A target is ``pretrain``, ``recipes``, a method, an evaluation or a refinement.

    Args:
        settings: as typed.
        labels: of the protocol's evaluations and refinements, beside their names.

    Raises:
        RequestError: one of them is not of that form, or its target does not exist.
    """
    changes: Table = {}
    for text in settings:
        path, equals, value = text.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise RequestError(f"--set {text!r}", hint="write it like simclr.temperature=0.2")
        known = [*SHARED, *methods.names(), *evaluations.names(), *refinements.names(), *labels]
        if keys[0] not in known:
            raise UnknownName("target of --set", keys[0], known)
        merge(changes, nested(keys, value))
    return changes


def resolve(
    protocol: Protocol,
    *,
    method: str,
    dataset: str,
    backbone: str,
    seed: int,
    changes: Table,
    data: Path,
    chosen: Sequence[str] = (),
    refine: Sequence[str] = (),
    evaluate_on: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Run:
    """Lay the protocol and the command line's changes over the plugins' defaults.

    Args:
        protocol: what is held fixed.
        method: name of the method, or its label: a name and its own changes in brackets.
        dataset: name of the data set.
        backbone: name of the backbone.
        seed: the trial.
        changes: what :func:`parse_changes` returned.
        data: folder of the data sets; looked into only for those that a name alone does not identify.
        chosen: the evaluations to make, by name or by label; by default all of the protocol's.
        refine: the refinements to make them after, beside none, by name or by label; by default all of the protocol's.
        evaluate_on: names of the data sets to make them on; by default the one that is pretrained on.
        plugins: Python files that register parts of it.

    Raises:
        RequestError: a name or an option is unknown, or a value is of the wrong type.
    """
    name, inline = parse_label(method)
    entry = methods.describe(name)
    tables, extended = protocol.for_run(dataset=dataset.removeprefix(HELD_OUT), backbone=backbone, method=name)
    changes = overlay(extended, changes)
    own, change = tables["methods"].get(name, {}), overlay(changes.get(name, {}), sectioned(inline, entry))
    shared = {key: changes.get(key, {}) for key in SHARED}
    pretrain = overlay_pretrain(tables["pretrain"], own.get("pretrain", {}), shared["pretrain"])
    measured = [evaluation_part(word, tables["evaluations"], changes) for word in chosen or tables["evaluations"]]
    refined = [
        labelled_part(refinements, word, tables["refinements"], changes) for word in refine or tables["refinements"]
    ]
    return Run(
        protocol=protocol.root.name,
        version=protocol.version,
        track=protocol.track,
        label=label(protocol.root.name, tables, shared),
        method=part(entry, name, {**own, "pretrain": pretrain}, change),
        dataset=dataset_part(dataset, data),
        backbone=part(backbones.describe(backbone), backbone),
        seed=seed,
        pretrain=build(Pretrain, overlay_pretrain(pretrain, change.get("pretrain", {})), "pretrain"),
        recipes={
            name: build(Recipe, recipe, f"recipes.{name}")
            for name, recipe in overlay(tables["recipes"], shared["recipes"]).items()
        },
        evaluations=tuple(
            Evaluation(**vars(evaluation), dataset=dataset_part(target, data), refinement=refinement)
            for target in dict.fromkeys(evaluate_on or [dataset])
            for refinement in (None, *refined)
            for evaluation in measured
            if refinement is None or evaluations.describe(evaluation.name).takes == "features"
        ),
        plugins=tuple(plugins),
        preset=protocol.name,
    )


def sectioned(inline: Table, entry: Entry) -> Table:
    """Changes of a label, with those under ``pretrain`` whose key is no option of the method, but one of [pretrain]."""
    training = {field.name for field in dataclasses.fields(Pretrain)} - set(entry.options)
    own = {key: value for key, value in inline.items() if key not in training}
    return overlay(own, {"pretrain": {key: value for key, value in inline.items() if key in training}})


def evaluation_part(word: str, tables: Table, changes: Table) -> Part:
    """An evaluation under its label, see :func:`labelled_part`.

    Raises:
        RequestError: likewise; or its fraction of the labels cannot be.
    """
    made = labelled_part(evaluations, word, tables, changes)
    if not 0 < (fraction := made.options.get("fraction", 1.0)) <= 1:
        raise RequestError(f"{parse_label(word)[0]}.fraction is {fraction}", hint="it lies above 0, and is 1 at most")
    return made


def labelled_part(registry: Registry[Any], word: str, tables: Table, changes: Table) -> Part:
    """An evaluation or a refinement under its label, which is its name unless the protocol says otherwise.

    Args:
        registry: of its kind.
        word: the label; in brackets its own changes.
        tables: the protocol's options of its kind, by label; under the name of the kind, which one it is.
        changes: the command line's, by label.

    Raises:
        RequestError: it does not exist, an option does not, or a value is of the wrong type.
    """
    base, inline = parse_label(word)
    own = dict(tables.get(base, {}))
    name = own.pop(registry.kind, base)
    if name not in registry.names():
        raise UnknownName(registry.kind, name, {*registry.names(), *tables})
    return part(registry.describe(name), name, own, overlay(changes.get(base, {}), inline), base)


def evaluations_of(config: Mapping[str, Any]) -> tuple[Evaluation, ...]:
    """The evaluations of a stored configuration.

    What it does not say is what it was made before one could: the run's own data set, and an option's default.

    Raises:
        RequestError: it was written by a version that knew other keys.
    """
    parts = [with_defaults(evaluations, part) for part in config["evaluations"]]
    for part in parts:
        if part.get("refinement"):
            part["refinement"] = with_defaults(refinements, part["refinement"])
    return tuple(build(Evaluation, {"dataset": config["dataset"], **part}, "config") for part in parts)


def lacking(run: Run, record: Mapping[str, Any]) -> tuple[Evaluation, ...]:
    """The evaluations of a run that a record does not hold under their labels."""
    made = [(run.name_of(part), part.identity()) for part in evaluations_of(record["run"])]
    return tuple(part for part in run.evaluations if (run.name_of(part), part.identity()) not in made)


def with_defaults(registry: Registry[Any], part: Table) -> Table:
    """A stored evaluation or refinement with all options that this version knows."""
    known = registry.describe(part["name"]).options if part["name"] in registry.names() else {}
    return {**part, "options": {**known, **part["options"]}}


def dataset_part(name: str, data: Path) -> Part:
    """A data set, with what identifies its content where its name does not."""
    return replace(part(datasets.describe(name), name), digest=digest_of_data(name, data))


@lru_cache
def digest_of_data(name: str, data: Path) -> str:
    """What tells the content of a data set from another's of its name; see ``Source.digest``.

    Raises:
        DataMissing: it has to be looked at, and is not there.
    """
    return source_of(name, data).digest() if ":" in name else ""


def part(entry: Entry, name: str, own: Table | None = None, change: Table | None = None, word: str = "") -> Part:
    """A plugin with the protocol's own options and the command line's change laid over its defaults.

    Its label begins with ``word``, by default its name.
    """
    own, change, word = own or {}, change or {}, word or name
    given = {k: v for k, v in overlay(own, change).items() if k != "pretrain"}
    for key in given:
        if key not in entry.options:
            raise RequestError(f"{word} has no option {key!r}", hint=nearest(key, entry.options))
    options = dict(entry.options)
    for key, value in given.items():
        default = options[key]
        options[key] = value if default is None else convert(value, type(default), f"{word}.{key}")
    base = overlay(entry.options, own)
    return Part(name, entry.version, options, label(word, base, change), entry.digest)


def overlay(*tables: Any) -> Table:
    """A new table: each laid over the one before."""
    result: Table = {}
    for table in tables:
        merge(result, table)
    return result


def overlay_pretrain(*layers: Table) -> Table:
    """:func:`overlay` for [pretrain], whose budgets replace each other."""
    pretrain: Table = overlay(*({"pretrain": layer} for layer in layers))["pretrain"]
    return pretrain
