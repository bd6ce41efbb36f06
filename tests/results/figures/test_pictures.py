"""The pictures of the documentation show what the command that draws them makes of the stored runs today."""

import re

import pytest
from PIL import Image

from results import report
from tests.tools.pictures import MEASURED, PAGE, PICTURES, draw, words_digest


def content(svg):
    """Texts, colours and size of a figure, which do not depend on the version of matplotlib as its bytes do."""
    return {
        "texts": re.findall(r"<!-- (.*?) -->", svg),
        "colours": sorted(set(re.findall(r"#[0-9a-f]{6}\b", svg))),
        "size": [round(float(number)) for number in re.findall(r"[\d.]+", re.search(r'viewBox="([^"]*)"', svg)[1])],
    }


@pytest.mark.parametrize(
    "picture", [PICTURES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in PICTURES[1:])]
)
def test_a_picture_is_what_its_command_draws(picture, tmp_path):
    """If this fails, look at what ``python -m tests.tools.pictures`` draws, and commit it."""
    committed = content((MEASURED / picture).read_text(encoding="utf-8"))
    assert committed["texts"]
    assert committed == content(draw(picture, tmp_path).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_picture_of_the_page_has_its_words(tmp_path):
    """If this fails, look at what ``python -m tests.tools.pictures`` writes, and commit it."""
    report.write((MEASURED / PAGE).parent, tmp_path)
    with Image.open(MEASURED / PAGE) as picture:
        assert picture.text["words"] == words_digest(tmp_path / "index.html")
