"""The registry and decorator of every kind of plugin, and plugin files. Never imports torch."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from methods.registry import METHODS, register_method
from protocols.spec.run import CROP_PCT, IMAGE_SIZE
from results import names
from results.errors import BrokenPlugin, RequestError, nearest
from results.figures import FIGURES, register_figure
from results.registry import Registry, digest_of_file, read_entry, read_registrations
from results.schema import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch

    from methods.base import Backbone
    from protocols.datasets.base import Source
    from protocols.features.features import Features
    from results.registry import Entry

__all__ = [
    "AUGMENTATIONS",
    "BACKBONES",
    "DATASETS",
    "EVALUATIONS",
    "FIGURES",
    "METHODS",
    "OPTIMIZERS",
    "REFINEMENTS",
    "REGISTRIES",
    "SCHEDULES",
    "register_augmentation",
    "register_backbone",
    "register_dataset",
    "register_evaluation",
    "register_figure",
    "register_method",
    "register_optimizer",
    "register_refinement",
    "register_schedule",
]

TAKES = ("features", "context")
"""Inputs that an evaluation may declare: frozen features, or the backbone with images and labels."""


def check_evaluation(entry: Entry) -> None:
    """Do nothing if an evaluation declares what it takes.

    Raises:
        BrokenPlugin: it takes something else, or its first parameter says that it does.
    """
    takes, first = entry.declared["takes"], next(iter(entry.members), "")
    if takes not in TAKES:
        raise BrokenPlugin(
            f"evaluation {entry.name!r} in {entry.origin} takes {takes!r}", hint=f"choose {' or '.join(TAKES)}"
        )
    if first in ("subject", "context") and takes != "context":
        raise BrokenPlugin(
            f"evaluation {entry.name!r} in {entry.origin} has a parameter {first!r} and does not say what it takes",
            hint=f'write @register_evaluation("{entry.name}", takes="context")',
        )


def check_augmentation(entry: Entry) -> None:
    """Do nothing if an augmentation operation says how many uniform numbers a view takes.

    Raises:
        BrokenPlugin: it declares no such number.
    """
    uniforms = entry.declared["uniforms"]
    if not isinstance(uniforms, int) or uniforms < 0:
        raise BrokenPlugin(
            f"augmentation {entry.name!r} in {entry.origin} declares uniforms={uniforms!r}",
            hint="declare how many uniform numbers decide about a view",
        )


DATASETS: Registry[type[Source]] = Registry("dataset", package="protocols.datasets", group="bench.datasets")
BACKBONES: Registry[Callable[..., Backbone]] = Registry(
    "backbone",
    package="protocols.backbones",
    group="bench.backbones",
    declares={"takes_side": False, "argument": ""},
)
EVALUATIONS: Registry[Callable[..., Any]] = Registry(
    "evaluation",
    package="protocols.evaluate",
    group="bench.evaluations",
    declares={"takes": "features", "uses_tokens": False},
    common={IMAGE_SIZE: None, CROP_PCT: None},
    check=check_evaluation,
)
REFINEMENTS: Registry[Callable[..., Features | None]] = Registry(
    "refinement", package="protocols.refine", group="bench.refinements", aliases=names.OLD_REFINEMENTS
)
AUGMENTATIONS: Registry[Callable[..., torch.Tensor]] = Registry(
    "augmentation",
    package="protocols.augment",
    group="bench.augmentations",
    declares={"uniforms": 0},
    check=check_augmentation,
)
OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry(
    "optimizer", package="protocols.pretrain", group="bench.optimizers"
)
SCHEDULES: Registry[Callable[..., float]] = Registry("schedule", package="protocols.pretrain", group="bench.schedules")

REGISTRIES: dict[str, Registry[Any]] = {
    "methods": METHODS,
    "datasets": DATASETS,
    "backbones": BACKBONES,
    "evaluations": EVALUATIONS,
    "refinements": REFINEMENTS,
    "augmentations": AUGMENTATIONS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "figures": FIGURES,
}

register_dataset = DATASETS.register
register_backbone = BACKBONES.register
register_evaluation = EVALUATIONS.register
register_refinement = REFINEMENTS.register
register_augmentation = AUGMENTATIONS.register
register_optimizer = OPTIMIZERS.register
register_schedule = SCHEDULES.register


def add_file(path: Path) -> dict[str, list[str]]:
    """Add the plugins of a Python file to the registries, without importing it.

    Returns:
        Their names, by the keys of :data:`REGISTRIES`.

    Raises:
        RequestError: no such file, it cannot be read, or nothing is registered in it.
        BrokenPlugin: it is not Python, a name is taken, or a plugin cannot work.
    """
    if not path.exists():
        raise RequestError(f"no such file: {path}")
    try:
        found = list(read_registrations(path))
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    except (RecursionError, MemoryError) as error:
        raise BrokenPlugin(f"{path} is nested too deeply") from error
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise BrokenPlugin(f"{where}: {error.msg}") from error
    except ValueError as error:
        raise BrokenPlugin(f"{path}: {error}") from error
    by_kind = {registry.kind: (plural, registry) for plural, registry in REGISTRIES.items()}
    source, added, unknown = digest_of_file(path), dict[str, list[str]](), list[str]()
    for registration in found:
        kind = registration.kind
        if not kind and registration.names_a_plugin:
            kind = "method"  # a bare @register is the decorator of methods of earlier versions
        if kind not in by_kind:  # a decorator of some other library, or a misspelt one of ours
            unknown.append(kind)
            continue
        plural, registry = by_kind[kind]
        entry = read_entry(registration, registry, module=str(path.resolve()), origin=str(path), source=source)
        registry.add(entry)
        added.setdefault(plural, []).append(entry.name)
    if not added:
        decorators = [f"register_{known}" for known in by_kind]
        misspelt = [nearest(f"register_{kind}", decorators) for kind in unknown if kind]
        raise RequestError(
            f"{path} registers nothing",
            hint=misspelt[0] if misspelt else f"put one of {', '.join(decorators)} on a class or function",
        )
    return added


def add_files(paths: Iterable[str]) -> None:
    """:func:`add_file` for several, in a process that did not parse the command line."""
    for path in paths:
        add_file(Path(path))


def plugin_file(path: str) -> Path:
    """The absolute path of a file that was added; the working folder may have changed since."""
    entries = (entry for registry in REGISTRIES.values() for entry in registry.entries())
    return next((Path(entry.module) for entry in entries if entry.origin == path), Path(path))


def load_files(paths: Iterable[str]) -> None:
    """Load every plugin of some files that were added, whether a run uses it or not.

    Raises:
        BrokenPlugin: one does not load.
    """
    resolved = {str(Path(path).resolve()) for path in paths}
    for registry in REGISTRIES.values():
        registry.load_files(resolved)


def dataset_source(name: str, root: Path) -> Source:
    """The source of a data set; reads no data.

    Args:
        name: as on the command line.
        root: folder that holds the data sets of this machine.

    Raises:
        UnknownName: it is not registered.
        BrokenPlugin: it does not load.
        RequestError: what follows the colon is too much, or missing.
    """
    source = DATASETS.get(name.partition(":")[0])(name, root)
    check_argument(name, source.argument)
    return source


def check_argument(name: str, declared: str, instead: str = "") -> None:
    """Check what follows the colon in the name of a data set or a backbone.

    Args:
        name: as on the command line.
        declared: description of the argument, such as ``PATH``; in brackets if it may be left out; empty if it takes
            none.
        instead: what may be done where it takes none, beside leaving the argument out.

    Raises:
        RequestError: what follows the colon is too much, or missing.
    """
    family, colon, argument = name.partition(":")
    if declared and not argument and not declared.startswith("["):
        raise RequestError(f"{family} needs more than its name", hint=f"write {family}:{declared}")
    if colon and not declared:
        raise RequestError(
            f"{family} takes nothing after a colon, and got {argument!r}", hint=f"write {family}{instead}"
        )


def typed_options(function: Callable[..., object], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of a plugin function as the types that its keyword-only parameters are annotated with.

    Args:
        function: the plugin.
        options: by the names of its parameters.
        where: names the plugin in messages.

    Raises:
        RequestError: a value is of another type, out of its bounds, or not among the choices.
        BrokenPlugin: an annotation names nothing.
    """
    types = option_types(function, where)
    return {name: convert(value, types.get(name, Any), f"{where}.{name}") for name, value in options.items()}


def option_types(function: Callable[..., object], where: str) -> dict[str, Any]:
    """The types of a plugin function's annotated options, its keyword-only parameters, with their constraints.

    Args:
        function: the plugin.
        where: names the plugin in messages.

    Raises:
        BrokenPlugin: an annotation names nothing.
    """
    parameters = inspect.signature(function).parameters.values()
    annotations = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    annotated = SimpleNamespace(
        __annotations__={name: hint for name, hint in annotations.items() if hint is not inspect.Parameter.empty}
    )
    try:
        return get_type_hints(annotated, globalns=inspect.unwrap(function).__globals__, include_extras=True)
    except NameError as error:
        raise BrokenPlugin(f"{where}: {error}", hint="import what its options are annotated with") from error
