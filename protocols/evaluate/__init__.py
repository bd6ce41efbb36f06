"""Evaluations of a representation: one function each, registered by name.

An evaluation is a function of frozen :class:`~protocols.evaluate.features.Features` and of its own options, which are
keyword-only. One whose first parameter is called ``subject`` is given a :class:`~protocols.evaluate.subject.Subject`
instead: the backbone itself and the images. It returns metrics by name; with a contact sheet, if it has one.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from methods.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.evaluate.sheet import Shown

    Evaluate = Callable[..., dict[str, float] | Shown]

registry: Registry[Evaluate] = Registry("evaluation", package="protocols.evaluate", group="bench.evaluations")
register = registry.register


def takes_subject(function: Evaluate) -> bool:
    """Whether an evaluation wants backbone and images; else it wants frozen features."""
    return next(iter(inspect.signature(function).parameters)) == "subject"


def option_types(function: Callable[..., object]) -> dict[str, Any]:
    """The types of an evaluation's, or a refinement's, options by name."""
    parameters = inspect.signature(function).parameters.values()
    options = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    return get_type_hints(SimpleNamespace(__annotations__=options), globalns=inspect.unwrap(function).__globals__)
