"""Pictures of a report's page: ``python -m tests.tools.screenshots report/index.html FOLDER``.

At 1280 pixels light and dark, at 375 pixels, and as printed (PDF), with Debian's Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def take(page_file: Path, folder: Path) -> None:
    """Write desktop.png, dark.png, phone.png and print.pdf to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, scheme in (("desktop", 1280, "light"), ("dark", 1280, "dark"), ("phone", 375, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(page_file.resolve().as_uri())
            page.screenshot(path=folder / f"{name}.png", full_page=True)
        page.pdf(
            path=folder / "print.pdf", format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "1cm")
        )
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
