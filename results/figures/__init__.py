"""The figures of a report, one file each, and the registry that they are in.

A figure is a function under ``@register_figure("name")``. It takes a :class:`~results.figures.data.FigureData` and
returns a matplotlib ``Figure``, or None where there is nothing to show. Its docstring is the caption; what
else holds of the figure at hand is its label (``figure.set_label``). It is called with the style of
``results.figures.style``, and its files are ``name-<table>.svg``, ``.png`` and ``.pdf``.

The modules of this package that hold figures are imported when something is drawn: matplotlib takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from results.figures.data import FigureData

BUILT_IN = ("accuracy", "ranks", "curves", "cost", "gains", "published", "tuning")
"""Names of the figures of this package, in the order of the page."""

FIGURES: Registry[Callable[[FigureData], Figure | None]] = Registry(
    "figure", package="results.figures", group="bench.figures"
)
register_figure = FIGURES.register


def figure_names() -> list[str]:
    """The names of all figures, in the order of the page; those of plugins come last."""
    return [*BUILT_IN, *(name for name in FIGURES.names() if name not in BUILT_IN)]
