"""Average ranks over data sets with the critical difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from results.analysis.across import compare_across
from results.figures import register_figure
from results.figures.style import make_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.analysis.across import AcrossDatasets
    from results.figures.data import FigureData

LINE = 0.17
"""Height of a line of text, in inches."""


@register_figure("ranks")
def ranks(data: FigureData) -> Figure | None:
    """Average rank of each method over data sets, the best on the left.

    Thick bars join methods that lie within the critical difference (Nemenyi's test at 5 %) of each other: these are not
    significantly different.
    """
    found = compare_across(data.results) if data.table is not None else []
    if not found:
        return None
    lines = max((len(one.methods) + 1) // 2 + bar_levels(one) for one in found)
    figure, panels = make_panels(len(found), 1, 0.85 + LINE * lines, "", width=data.width)
    for axes, one in zip(panels, found, strict=True):
        draw_ranks(axes, one, data)
        axes.set_title(f"{one.measure}, {len(one.datasets)} data sets")
    return figure


def bar_levels(found: AcrossDatasets) -> int:
    """Levels that the bars take, so that none touches another."""
    return max([level for _, _, level in bars(found)], default=-1) + 1


def bars(found: AcrossDatasets) -> list[tuple[float, float, int]]:
    """Best rank, worst rank and level of every bar; bars that overlap have different levels."""
    drawn: list[tuple[float, float, int]] = []
    for first, last in found.cliques:
        low, high = float(found.ranks[first]), float(found.ranks[last])
        taken = {level for _, end, level in drawn if end >= low - 0.1}
        level = next(level for level in range(len(drawn) + 1) if level not in taken)
        drawn.append((low, high, level))
    return drawn


def draw_ranks(axes: Axes, found: AcrossDatasets, data: FigureData) -> None:
    """One panel: an axis of ranks, bars below it, labels of the better half on the left, of the others on the right."""
    number, below = len(found.methods), bar_levels(found)
    half = (number + 1) // 2
    margin = 0.04 * (number - 1)
    for index, (method, rank) in enumerate(zip(found.methods, found.ranks, strict=True)):
        is_left = index < half
        # The outermost ranks have the uppermost labels, so that no line crosses another.
        level = below + 1 + (index if is_left else number - 1 - index)
        edge = 1 - margin if is_left else number + margin
        style = data.styles[method]
        axes.plot([rank, rank, edge], [0, level, level], color=style.colour, lw=0.7, clip_on=False)
        axes.plot(rank, 0, style.marker, color=style.colour, clip_on=False, zorder=3)
        text = f"{method} {rank:.2f}" if is_left else f"{rank:.2f} {method}"
        add_label(axes, text, edge, level, align="right" if is_left else "left")
    for low, high, level in bars(found):
        axes.plot([low, high], [level + 0.7] * 2, color="#000000", lw=2.2, solid_capstyle="butt", clip_on=False)
    end = 1 + min(found.critical_difference, number - 1)
    axes.plot([1, end], [-1.6] * 2, "|-", color="#000000", lw=0.8, ms=4, clip_on=False)
    add_label(axes, f"critical difference {found.critical_difference:.2f}", end, -1.6, align="left")
    axes.set_xlim(1, number)
    axes.set_ylim(below + 1.5 + half, -2)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_position(("data", 0))
    ticks = number - 1 if number <= 10 else 4  # those of many methods would touch each other between long labels
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.tick_params(axis="x", direction="out", pad=-11)
    axes.set_yticks([])
    axes.grid(visible=False)


def add_label(axes: Axes, text: str, x: float, y: float, *, align: str) -> None:
    """A text beside a point; with ``align`` right it ends there."""
    shift = (-3 if align == "right" else 3, 0)
    axes.annotate(
        text, (x, y), shift, textcoords="offset points", va="center", ha=align, fontsize="small", annotation_clip=False
    )
