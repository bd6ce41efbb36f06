"""The pictures of the documentation, drawn again: ``python -m tests.tools.pictures``; a test tells when to.

They are figures of ``bench report`` of the folder that they lie in, as wide as a page; and the top of the page itself,
which Debian's Chromium shows.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from results import report
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


PAGE = "quick-shapes/page.png"
"""The top of a page; its text chunk ``words`` is the digest of the words of the whole page."""


def words_digest(page: Path) -> str:
    """Digest of the words of a page in their order, without those of figures."""
    text = re.sub(r"<(script|style|figure|title)\b.*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    words = html.unescape(re.sub(r"<[^>]+>", " ", text)).split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def take_page(to: Path) -> Path:
    """Write the picture of the page; returns its path."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report.write((MEASURED / PAGE).parent, Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.goto((Path(folder) / "index.html").as_uri())
        image = Image.open(io.BytesIO(page.screenshot())).quantize(64)
        browser.close()
        chunk = PngInfo()
        chunk.add_text("words", words_digest(Path(folder) / "index.html"))
        image.save(to, pnginfo=chunk, optimize=True)
    return to


if __name__ == "__main__":
    for picture in PICTURES:
        print(draw(picture, (MEASURED / picture).parent))
    print(take_page(MEASURED / PAGE))
