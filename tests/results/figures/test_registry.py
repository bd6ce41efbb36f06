"""The registry of figures."""

import pytest
from matplotlib.figure import Figure

from results.errors import BrokenPlugin
from results.figures import BUILT_IN, FIGURES, figure_names, register_figure
from results.figures.draw import draw_all, figure_data
from results.report.data import collect


@pytest.fixture
def plugin():
    """Registers a figure called ``best`` for one test."""

    @register_figure("best")
    def best(data):
        """The best method alone."""
        if data.table is None:
            return None
        figure = Figure()
        figure.subplots().set_title(data.table.rows[0].method)
        return figure

    yield best
    del FIGURES._loaded["best"]


def test_a_figure_of_a_plugin_is_drawn_with_the_others(grid, runs, tmp_path, plugin):
    report = collect(runs)
    found = draw_all(figure_data(report.frames, report.tables, None, every=False), tmp_path / "figures")
    figure = found["quick-conv4"][-1]
    assert (figure.kind, figure.caption) == ("best", "The best method alone.")
    assert "supervised" in figure.files[0].read_text()
    assert figure_names() == [*BUILT_IN, "best"]


def test_a_name_is_taken_once(plugin):
    def other(data):
        return None

    other.__module__ = "elsewhere"
    with pytest.raises(BrokenPlugin, match="two figures are called 'best'"):
        register_figure("best")(other)
