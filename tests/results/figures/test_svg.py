"""Figures within a page."""

from xml.etree import ElementTree as ET

from results.figures.draw import draw_figure
from results.figures.style import save
from results.figures.svg import inline


def test_inlined_figures_are_named_and_keep_their_references(made, tmp_path):
    (svg, *_) = save(draw_figure("accuracy", made), tmp_path, "accuracy")
    text = inline(svg.read_text(), name="a", title="T & t", description="D")
    assert "http" not in text
    root = ET.fromstring(text.replace("<svg ", '<svg xmlns:xlink="x" ', 1))  # noqa: S314 - our own
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "a-title a-desc"
    assert [root[0].tag, root[0].text, root[1].tag, root[1].text] == ["title", "T & t", "desc", "D"]
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    assert all(name.startswith("a-") for name in names)
    used = {element.get("{x}href")[1:] for element in root.iter() if element.get("{x}href")}
    assert used
    assert used <= set(names)
