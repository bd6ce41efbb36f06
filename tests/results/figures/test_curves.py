"""Learning curves."""

import itertools

import matplotlib as mpl
import pytest

from results.figures.curves import curves
from results.figures.data import CURVE_SEEDS
from results.figures.draw import draw_figure
from results.figures.style import STYLE, wrap_label


def test_curves_are_in_the_units_of_each_loss(made, words_of):
    methods = [name for name in made.methods if name != "random"]
    figure = draw_figure("curves", made)
    assert [axes.get_title().replace("\n", "") for axes in figure.axes] == methods
    for axes in figure.axes:
        assert len(axes.lines) == 3
        assert list(axes.lines[0].get_ydata()) == pytest.approx([4, 2, 4 / 3, 1])
        assert list(axes.lines[0].get_xdata()) == [40, 80, 120, 160]
    assert "thousand views" in words_of(figure)


def test_a_single_epoch_is_no_curve(made):
    history = made.history
    history.drop(index=history.index[history["epoch"] > 1], inplace=True)
    assert draw_figure("curves", made) is None


def test_the_caption_names_the_limit_that_holds():
    assert f"first {CURVE_SEEDS} seeds" in curves.__doc__


def test_a_title_is_broken_between_options():
    assert wrap_label("byol[momentum=0.9]", 17) == "byol[\nmomentum=0.9]"
    assert wrap_label("byol[lr=1,momentum=0.9]", 17) == "byol[lr=1,\nmomentum=0.9]"
    assert wrap_label("simclr", 17) == "simclr"
    assert wrap_label("a" * 40, 17) == "\n".join(["a" * 17, "a" * 17, "a" * 6])


@pytest.mark.parametrize("count", [2, 9])
def test_no_title_runs_into_the_next(count, store, runs, data_of):
    for number in range(count):
        store(
            {"knn": 50.0},
            method=f"a_rather_long_method_name_w{number}",
            method_label=f"relational[batch=128,views={number}]",
        )
    figure = draw_figure("curves", data_of(runs))
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes if axes.get_title()]
    assert {title.get_text().replace("\n", "") for title in titles} == {
        f"relational[batch=128,views={number}]" for number in range(count)
    }
    boxes = [title.get_window_extent() for title in titles]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
