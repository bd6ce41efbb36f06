"""The figures of a report, one file each, and the registry that they are in.

A figure is a function under ``@register_figure("name")``. It takes a :class:`~results.figures.data.FigureData` and
returns a matplotlib ``Figure``, or None where there is nothing to show. Its docstring is the caption. It is called with
the style of ``results.figures.style``, and its files are ``name-<table>.svg``, ``.png`` and ``.pdf``.

The modules of this package that hold figures are imported when something is drawn: matplotlib takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from results.errors import BrokenPlugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from matplotlib.figure import Figure

    from results.figures.data import FigureData

    FigureFunction: TypeAlias = Callable[[FigureData], Figure | None]

BUILT_IN = ("accuracy", "curves", "cost", "gains", "published")
"""Names of the figures that lie in this package, each in the module of its name, in the order of the page."""

_registered: dict[str, FigureFunction] = {}


def register_figure(name: str) -> Callable[[FigureFunction], FigureFunction]:
    """Decorator: make a function a figure of every report under ``name``.

    Raises:
        BrokenPlugin: another function has that name.
    """

    def register(figure: FigureFunction) -> FigureFunction:
        other = _registered.get(name)
        if other is not None and other.__module__ != figure.__module__:
            raise BrokenPlugin(
                f"two figures are called {name!r}: in {other.__module__} and in {figure.__module__}",
                hint="rename one of them",
            )
        _registered[name] = figure
        return figure

    return register


def figure_names() -> list[str]:
    """The names of all figures, in the order of the page; those of plugins come last."""
    return [*BUILT_IN, *sorted(_registered.keys() - {*BUILT_IN})]


def get_figure(name: str) -> FigureFunction:
    """The figure of that name; its module is imported if need be."""
    if name not in _registered:
        importlib.import_module(f"results.figures.{name}")
    return _registered[name]
