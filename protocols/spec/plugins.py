"""Every kind of plugin: its registry, its decorator, and how files of plugins become known. Never imports torch."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from methods.registry import METHODS, register_method
from results import names
from results.errors import BrokenPlugin, RequestError
from results.figures import FIGURES, register_figure
from results.registry import Registry, digest_of_file, read_entry, read_registrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from methods.base import Backbone
    from protocols.datasets.base import Source
    from protocols.features.features import Features

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

DATASETS: Registry[type[Source]] = Registry("dataset", package="protocols.datasets", group="bench.datasets")
BACKBONES: Registry[Callable[[str], Backbone]] = Registry(
    "backbone", package="protocols.backbones", group="bench.backbones"
)
EVALUATIONS: Registry[Callable[..., Any]] = Registry(
    "evaluation", package="protocols.evaluate", group="bench.evaluations", declares={"takes": "features"}
)
REFINEMENTS: Registry[Callable[..., Features | None]] = Registry(
    "refinement", package="protocols.refine", group="bench.refinements", aliases=names.OLD_REFINEMENTS
)
AUGMENTATIONS: Registry[Callable[..., torch.Tensor]] = Registry(
    "augmentation", package="protocols.augment", group="bench.augmentations", declares={"uniforms": 0}
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
register_refinement = REFINEMENTS.register
register_augmentation = AUGMENTATIONS.register
register_optimizer = OPTIMIZERS.register
register_schedule = SCHEDULES.register

TAKES = ("features", "context")
"""What an evaluation may be given: frozen features, or the backbone with images and labels."""


def register_evaluation(name: str, *, takes: str = "features", version: int = 1) -> Callable[[Any], Any]:
    """Decorator: register an evaluation under ``name``.

    Args:
        name: users type it.
        takes: ``features`` for a function of frozen :class:`~protocols.features.features.Features`, which is measured
            after refinements too; ``context`` for one of an
            :class:`~protocols.features.context.EvaluationContext`, that is of the backbone itself.
        version: raise it when the same options begin to give other numbers.

    Raises:
        BrokenPlugin: it takes something else.
    """

    def decorate(function: Any) -> Any:
        first = next(iter(inspect.signature(function).parameters), "")
        if takes not in TAKES:
            raise BrokenPlugin(f"evaluation {name!r} takes {takes!r}", hint=f"it takes {' or '.join(TAKES)}")
        if first in ("subject", "context") and takes != "context":
            raise BrokenPlugin(
                f"evaluation {name!r} has a parameter {first!r} and does not declare takes='context'",
                hint="what an evaluation takes is declared, not read off its parameters",
            )
        return EVALUATIONS.register(name, version=version, takes=takes)(function)

    return decorate


def add_file(path: Path) -> dict[str, list[str]]:
    """Make the plugins of a Python file known, without importing it.

    Returns:
        Their names by kind, in the words of :data:`REGISTRIES`.

    Raises:
        RequestError: no such file, or nothing is registered in it.
        BrokenPlugin: it is not Python, registers an unknown kind, or takes a name that is taken.
    """
    if not path.is_file():
        raise RequestError(f"no such file: {path}")
    try:
        found = list(read_registrations(path))
    except SyntaxError as error:
        raise BrokenPlugin(f"{path}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise BrokenPlugin(f"{path} is not UTF-8: {error.reason}", hint="save it as UTF-8") from error
    by_kind = {registry.kind: (plural, registry) for plural, registry in REGISTRIES.items()}
    source, added = digest_of_file(path), dict[str, list[str]]()
    for registration in found:
        kind = registration.kind or "method"  # a bare @register is the decorator of methods of earlier versions
        if kind not in by_kind:
            raise BrokenPlugin(
                f"{path}, line {registration.node.lineno}: there is no register_{kind}",
                hint=f"there are {', '.join(f'register_{known}' for known in by_kind)}",
            )
        plural, registry = by_kind[kind]
        entry = read_entry(registration, registry, module=str(path.resolve()), origin=str(path), source=source)
        registry.add(entry)
        added.setdefault(plural, []).append(entry.name)
    if not added:
        raise RequestError(f"{path} registers nothing", hint='put @register_method("name"), or its like, on a plugin')
    return added


def add_files(paths: Iterable[str]) -> None:
    """:func:`add_file` for several, in a process that did not read the command line."""
    for path in paths:
        add_file(Path(path))


def dataset_source(name: str, root: Path) -> Source:
    """Where a data set comes from; reads nothing.

    Args:
        name: as on the command line.
        root: folder that holds the data sets of this machine.

    Raises:
        UnknownName: nobody registered it.
        BrokenPlugin: it does not load.
        RequestError: what follows the colon is too much, or missing.
    """
    family, colon, argument = name.partition(":")
    source = DATASETS.get(family)(name, root)
    if source.argument and not argument:
        raise RequestError(f"{family} needs more than its name", hint=f"write {family}:{source.argument}")
    if colon and not source.argument:
        raise RequestError(f"{family} takes nothing after a colon, and got {argument!r}", hint=f"write {family}")
    return source


def option_types(function: Callable[..., object]) -> dict[str, Any]:
    """The types of a plugin function's options: its keyword-only parameters, by name."""
    parameters = inspect.signature(function).parameters.values()
    options = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    return get_type_hints(SimpleNamespace(__annotations__=options), globalns=inspect.unwrap(function).__globals__)
