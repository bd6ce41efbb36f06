"""Resolves runs from a protocol and the changes of the command line. Never imports torch."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.labels import HELD_OUT, SHARED, format_value, label, nested, parse_label
from protocols.spec.plugins import (
    AUGMENTATIONS,
    BACKBONES,
    DATASETS,
    EVALUATIONS,
    METHODS,
    OPTIMIZERS,
    REFINEMENTS,
    SCHEDULES,
    add_files,
    check_argument,
    dataset_source,
)
from protocols.spec.protocol import Augmentation, Grid, Pretrain, TomlTable, merge
from protocols.spec.run import CROP_PCT, IMAGE_SIZE, Component, CropPct, Evaluation, ImageSize, Run
from results.errors import RequestError, UnknownName, nearest
from results.names import (
    STORED_FIELDS,
    UNTRAINED,
    code_options,
    display_name,
    stored_field,
    stored_name,
    stored_options,
)
from results.registry import digest_of_file
from results.schema import build, convert, require_table
from results.store import read_earlier_images

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from protocols.datasets.base import Progress
    from protocols.spec.protocol import Protocol
    from results.registry import Entry, Registry

TIMM_NAME = re.compile(r"(wide_)?resne[xs]?t(18|26|34|50|101|152)\w*")
"""Names of ResNets that timm has, which people type without ``timm:``."""

SECTIONS = ("methods", "evaluations", "refinements")
"""Tables of protocol files that ``--set`` leaves out: it begins with what they hold."""

GRID_OPTIONS = {
    item.name: "--refine" if item.name == "refinements" else f"--{item.name.replace('_', '-')}"
    for item in dataclasses.fields(Grid)
}
"""Options of the command line that take the place of keys of ``[grid]``."""

STORED_PRETRAIN_KEYS = {
    word: stored_field(item.name)
    for item in dataclasses.fields(Pretrain)
    for word in (item.name, stored_field(item.name))
}
"""Keys of ``[pretrain]``, by these and by their names in the code."""

EXTRAS: tuple[Registry[Any], ...] = (OPTIMIZERS, SCHEDULES, AUGMENTATIONS)
"""Kinds of plugins that are named by options of a run."""


def parse_changes(settings: Iterable[str], labels: Iterable[str] = ()) -> TomlTable:
    """Nest the ``TARGET.KEY=VALUE`` of ``--set``; values are read as TOML, what is not TOML as text.

    A target is ``pretrain``, ``recipes``, a method, an evaluation or a refinement; the latter under its stored name.

    Args:
        settings: as typed.
        labels: of the protocol's evaluations and refinements, beside their names.

    Raises:
        RequestError: one of them is not of that form, or its target does not exist.
    """
    changes: TomlTable = {}
    measured = [*EVALUATIONS.names(), *REFINEMENTS.names(), *labels]
    known = dict.fromkeys([*SHARED, *METHODS.names(), *map(display_name, measured)])
    for text in settings:
        path, _, value = text.partition("=")
        keys = path.strip().split(".")
        require_assignment(text)
        if display_name(keys[0]) not in known:
            hint = hint_on_target(keys, value) or nearest(keys[0], known)
            raise RequestError(f"unknown target of --set {keys[0]!r}", hint=hint)
        merge(changes, nested([stored_name(keys[0]), *keys[1:]], value))
    return changes


def require_assignment(text: str) -> None:
    """Check that a text is of the form ``TARGET.KEY=VALUE``.

    Raises:
        RequestError: it is not.
    """
    path, equals, value = text.partition("=")
    target, *keys = path.strip().split(".")
    if equals and target and keys and all(keys):
        return
    example = "write it like simclr.temperature=0.2"
    if not keys and target in STORED_PRETRAIN_KEYS:
        hint = f"did you mean pretrain.{STORED_PRETRAIN_KEYS[target]}{equals}{value.rstrip()}?"
        raise RequestError(f"--set {text!r} names no target", hint=hint)
    if not equals:
        whole = f"write {path.strip()}=VALUE" if target and keys and all(keys) else example
        raise RequestError(f"--set {text!r} gives no value", hint=whole)
    raise RequestError(f"--set {text!r} names no {'target' if not keys or not target else 'option'}", hint=example)


def hint_on_target(keys: Sequence[str], value: str) -> str:
    """What to write instead of a target that is a section of protocol files, or a name that reports show; or nothing.

    Args:
        keys: as typed, the target among them.
        value: as typed.
    """
    section, *rest = keys
    instead = ".".join(rest) + f"={value}"
    if section == "grid" and rest[0] in GRID_OPTIONS:
        return f"write {GRID_OPTIONS[rest[0]]} {value}"
    if section in SECTIONS and len(rest) > 1:
        return f"write {instead}"
    if section in STORED_FIELDS and STORED_FIELDS[section] in SHARED:
        return f"write {STORED_FIELDS[section]}.{instead}"
    is_of_augmentation = rest[0] in {field.name for field in dataclasses.fields(Augmentation)}
    return f"did you mean recipes.{section}.{instead}?" if is_of_augmentation else ""


def resolve(
    protocol: Protocol,
    *,
    method: str,
    dataset: str,
    backbone: str,
    seed: int,
    changes: TomlTable,
    data: Path,
    evaluate: Sequence[str] = (),
    refine: Sequence[str] = (),
    evaluate_on: Sequence[str] = (),
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """Resolve a run: defaults of plugins, overridden by the protocol, overridden by the command line.

    Args:
        protocol: what is held fixed.
        method: name of the method, or its label: a name and its own changes in brackets.
        dataset: name of the data set.
        backbone: name of the backbone.
        seed: of the run.
        changes: what :func:`parse_changes` returned.
        data: folder of the data sets; read only for those that a name alone does not identify.
        evaluate: evaluations, by name or label; by default all of the protocol's.
        refine: refinements, by name or label, after which evaluations are repeated; by default all of the protocol's.
        evaluate_on: names of the data sets to evaluate on; by default the one that is pretrained on.
        plugins: Python files that register parts of the run.
        progress: called while the images of a data set are read.

    Raises:
        RequestError: a name or an option is unknown, or a value is of the wrong type.
    """
    name, inline = parse_label(method)
    entry = METHODS.describe(name)
    label_option = entry.declared["label_option"]
    tables, extended = protocol.for_run(dataset=dataset.removeprefix(HELD_OUT), backbone=backbone, method=name)
    known_augmentations = {**tables["recipes"], **extended.get("recipes", {})}
    for augmentation in changes.get("recipes", {}):
        if augmentation not in known_augmentations:  # one that nothing uses would change a label and no number
            raise UnknownName(f"augmentation of {protocol.name}", augmentation, known_augmentations)
    changes = overlay(extended, changes)
    protocol_options = tables["methods"].get(name, {})
    require_table(changes.get(name, {}).get("pretrain", {}), f"{name}.pretrain")
    change = overlay(changes.get(name, {}), split_pretrain_keys(inline, entry))
    shared = {key: changes.get(key, {}) for key in SHARED}
    base_pretrain = overlay_pretrain(tables["pretrain"], protocol_options.get("pretrain", {}), shared["pretrain"])
    pretrain = build(Pretrain, overlay_pretrain(base_pretrain, change.get("pretrain", {})), "pretrain")
    augmentations = {
        key: build(Augmentation, table, f"recipes.{key}")
        for key, table in overlay(tables["recipes"], shared["recipes"]).items()
    }
    measured = [
        labelled_component(EVALUATIONS, word, tables["evaluations"], changes)
        for word in evaluate or tables["evaluations"]
    ]
    for component in measured:
        for option, kind in ((IMAGE_SIZE, ImageSize), (CROP_PCT, CropPct)):
            convert(component.options.get(option), kind, f"{component.name}.{option}")
    refined = [
        labelled_component(REFINEMENTS, word, tables["refinements"], changes)
        for word in refine or tables["refinements"]
    ]
    if entry.declared["baseline"] in UNTRAINED and change.get("pretrain"):
        raise RequestError(
            f"{name} is not trained: {next(iter(change['pretrain']))} changes nothing", hint="leave it out"
        )
    component = component_of(entry, name, {**protocol_options, "pretrain": base_pretrain}, change)
    return Run(
        protocol=protocol.root.name,
        version=protocol.version,
        fairness=protocol.fairness,
        label=label(protocol.root.name, tables, shared),
        method=replace(component, label=component.options.get(label_option) or component.label),
        dataset=dataset_component(dataset, data, progress),
        backbone=backbone_component(backbone),
        seed=seed,
        pretrain=pretrain,
        augmentations=augmentations,
        evaluations=tuple(
            Evaluation(**vars(evaluation), dataset=dataset_component(target, data, progress), refinement=refinement)
            for target in dict.fromkeys(evaluate_on or [dataset])
            for refinement in (None, *refined)
            for evaluation in measured
            if refinement is None or EVALUATIONS.describe(evaluation.name).declared["takes"] == "features"
        ),
        plugins=tuple(plugins),
        preset=protocol.name,
        extras=tuple(extra_components(pretrain, augmentations)),
        unused=tuple(
            key for key in augmentations if key in protocol.added and key not in entry.declared["augmentations"]
        ),
        baseline=entry.declared["baseline"],
    )


def split_pretrain_keys(inline: TomlTable, entry: Entry) -> TomlTable:
    """Changes of a label, those of ``[pretrain]`` under ``pretrain`` unless the method has an option of that name."""
    require_table(inline.get("pretrain", {}), f"{entry.name}.pretrain")
    training = set(STORED_PRETRAIN_KEYS.values()) - set(entry.options)
    method_options = {key: value for key, value in inline.items() if key not in training}
    return overlay(method_options, {"pretrain": {key: value for key, value in inline.items() if key in training}})


def labelled_component(registry: Registry[Any], word: str, tables: TomlTable, changes: TomlTable) -> Component:
    """An evaluation or a refinement under its label, which is its name unless the protocol says otherwise.

    Args:
        registry: of its kind.
        word: the label; in brackets its own changes. Of a refinement the present or the earlier name.
        tables: the protocol's options of its kind, by label; under the name of the kind, which one it is.
        changes: the command line's, by label.

    Raises:
        RequestError: it does not exist, an option does not, or a value is of the wrong type.
    """
    typed, inline = parse_label(word)
    is_refinement = registry is REFINEMENTS
    base = stored_name(typed) if is_refinement else typed
    protocol_options = dict(tables.get(base, {}))
    name = protocol_options.pop(registry.kind, base)
    if name not in registry:
        known = [*registry.names(), *(one for one in tables if one != base)]
        raise UnknownName(registry.kind, name, dict.fromkeys(map(display_name, known)))
    change = overlay(changes.get(base, {}), inline)
    entry = registry.describe(name)
    if is_refinement:
        entry = under_stored_names(entry)
        name, change = stored_name(name), stored_options(entry.name, change)
    return component_of(entry, name, protocol_options, change, base)


def stored_evaluations(config: Mapping[str, Any]) -> tuple[Evaluation, ...]:
    """The evaluations of a stored configuration.

    What earlier versions did not store is what they did: the run's own data set, and every option's default.

    Raises:
        RequestError: it was written by a version with other keys.
    """
    parts = [with_defaults(EVALUATIONS, part) for part in config["evaluations"]]
    for part in parts:
        if part.get("refinement"):
            part["refinement"] = with_defaults(REFINEMENTS, part["refinement"])
    return tuple(build(Evaluation, {"dataset": config["dataset"], **part}, "config") for part in parts)


def missing_evaluations(run: Run, record: Mapping[str, Any]) -> tuple[Evaluation, ...]:
    """The evaluations of a run that are missing in a record, by label."""
    made = [(run.evaluation_name(part), part.identity()) for part in stored_evaluations(record["run"])]
    return tuple(part for part in run.evaluations if (run.evaluation_name(part), part.identity()) not in made)


def with_defaults(registry: Registry[Any], part: TomlTable) -> TomlTable:
    """A stored evaluation or refinement with all options that this version has."""
    if part["name"] not in registry:
        return part
    entry = registry.describe(part["name"])
    if registry is REFINEMENTS:
        entry = under_stored_names(entry)
    earlier = {key: value for key, value in entry.options.items() if key not in entry.added}
    return {**part, "options": {**earlier, **part["options"]}}


def under_stored_names(entry: Entry) -> Entry:
    """A refinement whose options have their stored names."""
    added = stored_options(entry.name, dict.fromkeys(entry.added))
    return replace(entry, options=stored_options(entry.name, entry.options), added=tuple(added))


def dataset_component(name: str, data: Path, progress: Progress | None = None) -> Component:
    """A data set, with the digest of its content where its name does not identify it."""
    source = DATASETS.describe(name.removeprefix(HELD_OUT)).source
    component = component_of(DATASETS.describe(name), name)
    return replace(component, source=source, digest=dataset_digest(name, data, source, progress))


def backbone_component(name: str) -> Component:
    """A backbone; where its plugin is given a file after the colon, such as weights, with the digest of that.

    Raises:
        RequestError: it does not exist, or what follows the colon is too much, or missing.
    """
    if name not in BACKBONES and TIMM_NAME.fullmatch(name):
        hint = f"did you mean timm:{name}@small, with a stem for small images, or timm:{name}?"
        raise RequestError(f"unknown backbone {name!r}", hint=hint)
    entry = BACKBONES.describe(name)
    instead = f", or declare argument= in {entry.origin}" if entry.source else ""
    check_argument(name, entry.declared["argument"], instead)
    return replace(component_of(entry, name), digest=argument_digest(name) if entry.source else "")


def argument_digest(name: str) -> str:
    """Digest of the file that follows the colon in a name; empty if no file does."""
    path = Path(name.partition(":")[2])
    return digest_of_file(path) if path.is_file() else ""


@lru_cache
def dataset_digest(name: str, data: Path, source: str, progress: Progress | None = None) -> str:  # noqa: ARG001
    """Digest of the content of a data set, see ``Source.digest``; read once per process.

    Args:
        name: as on the command line.
        data: folder of the data sets.
        source: see ``Entry``; another source of the same name is another data set.
        progress: called while its images are read.

    Raises:
        DataMissing: it has to be read, and cannot be.
    """
    dataset = dataset_source(name, data)
    dataset.progress = progress
    return dataset.digest()


def extra_components(pretrain: Pretrain, augmentations: Mapping[str, Augmentation]) -> Iterator[Component]:
    """Optimizer, schedule and augmentation operations, those that are built in at version 1 left out.

    Raises:
        RequestError: one does not exist, or an option of one does not.
    """
    wanted: list[tuple[Registry[Any], str, TomlTable]] = [
        (OPTIMIZERS, pretrain.optimizer, pretrain.optimizer_options),
        (SCHEDULES, pretrain.schedule, pretrain.schedule_options),
        *((AUGMENTATIONS, name, table) for one in augmentations.values() for name, table in one.operations.items()),
    ]
    for registry, name, options in wanted:
        entry = registry.describe(name)
        component = component_of(entry, name, {}, options)
        if entry.source or entry.version > 1:
            yield component


def component_of(
    entry: Entry, name: str, protocol_options: TomlTable | None = None, change: TomlTable | None = None, word: str = ""
) -> Component:
    """A plugin with its default options, overridden by the protocol, overridden by the command line.

    Its label begins with ``word``, by default its name.

    Raises:
        RequestError: an option does not exist, or a value is of the wrong type.
    """
    protocol_options, change, word = protocol_options or {}, change or {}, word or name
    shown = display_name(word)
    given = {key: value for key, value in overlay(protocol_options, change).items() if key != "pretrain"}
    options = dict(entry.options)
    for key, value in given.items():
        if key not in entry.options:
            if entry.kind == METHODS.kind and key in STORED_PRETRAIN_KEYS:
                assigned = "" if isinstance(value, dict) else f"={format_value(value)}"
                setting = f"{shown}.pretrain.{STORED_PRETRAIN_KEYS[key]}{assigned}"
                hint = f"it is a setting of the training: write {setting}"
            else:
                hint = nearest(key, code_options(entry.name, entry.options))
            raise RequestError(f"{shown} has no option {key!r}", hint=hint)
        default = options[key]
        if key in entry.files and value == "" != default:
            raise RequestError(f"{shown}.{key} names no file", hint="leave it out, or name one")
        # The values of a list, and of what is None by default, are checked with the types of the plugin.
        checked_later = default is None or (isinstance(default, list | tuple) and isinstance(value, list | tuple))
        (present,) = code_options(entry.name, {key: value})
        options[key] = value if checked_later else convert(value, type(default), f"{shown}.{present}")
    base = overlay(entry.options, protocol_options)
    options = {key: value for key, value in options.items() if key not in entry.added or value != entry.options[key]}
    files = {
        key: digest_of_option_file(f"{word}.{key}", options[key])
        for key, words in entry.files.items()
        if options.get(key) and options[key] not in words
    }
    return Component(name, entry.version, options, label(word, base, change), source=entry.source, files=files)


def digest_of_option_file(where: str, value: Any) -> str:
    """Digest of the file that an option names.

    Raises:
        RequestError: there is no such file.
    """
    path = Path(str(value))
    if not path.is_file():
        raise RequestError(f"{where}: {'not a file' if path.exists() else 'no such file'}: {path}")
    return f"sha256:{digest_of_file(path)}"


def plugins_of(run: Run) -> Iterator[tuple[Registry[Any], Component]]:
    """The plugins that a run names, each with its registry; without ``extras``."""
    yield METHODS, run.method
    yield DATASETS, run.dataset
    yield BACKBONES, run.backbone
    for evaluation in run.evaluations:
        yield EVALUATIONS, evaluation
        yield DATASETS, evaluation.dataset
        if evaluation.refinement:
            yield REFINEMENTS, evaluation.refinement


def load_plugins(run: Run) -> None:
    """Add the plugin files of a run in a process that did not parse the command line.

    Raises:
        RequestError: one is not there, or has changed since the run was planned.
    """
    add_files(run.plugins)
    for registry, component in plugins_of(run):
        # Earlier versions stored the source of a method file as its digest.
        planned = component.source or (component.digest if registry is METHODS else "")
        if planned and registry.describe(component.name.removeprefix(HELD_OUT)).source != planned:
            raise RequestError(f"{component.name} was changed after the run was planned", hint="repeat the command")
        if registry is BACKBONES and component.digest and argument_digest(component.name) != component.digest:
            raise RequestError(
                f"the file of {component.name} was changed after the run was planned", hint="repeat the command"
            )
        for option, digest in component.files.items():
            where = f"{component.name}.{option}"
            if digest_of_option_file(where, component.options[option]) != digest:
                raise RequestError(
                    f"the file of {where} was changed after the run was planned", hint="repeat the command"
                )
    for extra in run.extras:
        if not any(extra.name in known and known.describe(extra.name).source == extra.source for known in EXTRAS):
            raise RequestError(f"{extra.name} was changed after the run was planned", hint="repeat the command")


def datasets_of(run: Run) -> list[Component]:
    """The data sets that a run is pretrained and evaluated on, with repetition."""
    return [run.dataset, *(evaluation.dataset for evaluation in run.evaluations)]


def require_same_images(run: Run, folder: Path, data: Path) -> None:
    """Check that the images of a run are those that it was planned with.

    Args:
        run: to be executed.
        folder: of the runs.
        data: folder of the data sets.

    Raises:
        RequestError: they are not.
    """
    for part in {part.name: part for part in datasets_of(run) if part.digest}.values():
        found = dataset_digest(part.name, data, part.source)
        if found == part.digest or (
            dataset_source(part.name, data).earlier_digest() == part.digest
            and read_earlier_images(folder).get(part.digest) == found
        ):
            continue
        raise RequestError(
            f"the images of {part.name} were changed after the run was planned", hint="repeat the command"
        )


def overlay(*tables: Any) -> TomlTable:
    """Merge tables into a new one; later tables override earlier ones."""
    result: TomlTable = {}
    for table in tables:
        merge(result, table)
    return result


def overlay_pretrain(*layers: TomlTable) -> TomlTable:
    """:func:`overlay` for [pretrain], whose budgets replace each other."""
    pretrain: TomlTable = overlay(*({"pretrain": layer} for layer in layers))["pretrain"]
    return pretrain
