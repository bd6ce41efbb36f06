"""The pictures of the documentation, drawn again: ``python -m tests.tools.pictures``; a test tells when to.

They are figures of ``bench report`` of the folder that they lie in, as wide as a page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from results.figures.data import PAGE_WIDTH
from results.figures.draw import draw_figure, figure_data
from results.report.data import collect

MEASURED = Path(__file__).parents[2] / "results" / "measured"

PICTURES = (
    "quick-shapes/accuracy.svg",
    "graphnnclr2025-small/gains.svg",
    "tuned-shapes/tuning.svg",
    "tuned-cifar10/tuning.svg",
)
"""Below ``results/measured``; each is named like the figure that it shows."""


def draw(picture: str, to: Path) -> Path:
    """Draw a picture into a folder; returns its path."""
    from results.figures.style import save

    report = collect((MEASURED / picture).parent)
    shown = figure_data(report.frames, report.tables, None, every=True, curves=report.tuning_curves)
    kind = Path(picture).stem
    figures = (draw_figure(kind, replace(data, width=PAGE_WIDTH)) for data in shown)
    figure = next(figure for figure in figures if figure is not None)
    (path,) = save(figure, to, kind, ("svg",))
    return path


if __name__ == "__main__":
    for picture in PICTURES:
        print(draw(picture, (MEASURED / picture).parent))
