"""Learning curves."""

import pytest

from results.figures.curves import curves
from results.figures.data import CURVE_SEEDS
from results.figures.draw import draw_figure


def test_curves_span_from_one_to_zero_in_each_panel(made, words_of):
    methods = [name for name in made.methods if name != "random"]
    figure = draw_figure("curves", made)
    assert [axes.get_title() for axes in figure.axes] == methods
    for axes in figure.axes:
        assert len(axes.lines) == 3
        assert list(axes.lines[0].get_ydata()) == pytest.approx([1, (2 - 1) / 3, (4 / 3 - 1) / 3, 0])
        assert list(axes.lines[0].get_xdata()) == [40, 80, 120, 160]
    assert "4 → 1" in words_of(figure)
    assert "thousand views" in words_of(figure)


def test_a_loss_that_never_moves_is_drawn(made):
    made.history["loss"] = 0.5
    figure = draw_figure("curves", made)
    assert set(figure.axes[0].lines[0].get_ydata()) == {0.0}


def test_the_caption_names_the_limit_that_holds():
    assert f"first {CURVE_SEEDS} seeds" in curves.__doc__
