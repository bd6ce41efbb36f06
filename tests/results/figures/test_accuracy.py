"""Accuracy: means, intervals, seeds."""

import itertools
import warnings
from dataclasses import replace

import matplotlib as mpl
import pytest

from results.figures.accuracy import MOST_DOTS
from results.figures.data import COLUMN_WIDTH, PAGE_WIDTH
from results.figures.draw import draw_figure
from results.figures.style import STYLE


def test_accuracy_shows_means_seeds_and_intervals(made, words_of):
    figure = draw_figure("accuracy", made)
    first = figure.axes[0]
    assert [axes.get_title() for axes in figure.axes] == ["shapes, linear", "shapes, knn"]
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in first.lines}
    assert means == {0: 91.0, 1: 61.0, 2: 56.0, 3: 31.0}
    intervals, ends, *seeds = first.collections
    assert intervals.get_segments()[1][:, 0] == pytest.approx([61.0 - 2.484138, 61.0 + 2.484138], abs=1e-6)
    assert len(ends.get_offsets()) == 8
    dots = [tuple(offset) for collection in seeds for offset in collection.get_offsets()]
    assert sorted(x for x, _ in dots) == [30, 31, 32, 55, 56, 57, 60, 61, 62, 90, 91, 92]
    assert {round(y - 0.33) for x, y in dots if x > 80} == {0}
    assert "byol[momentum=0.9]" in words_of(figure)


def test_of_many_columns_each_data_set_has_one(store, runs, data_of):
    for number in range(7):
        store({"linear": 60.0, "knn": 50.0}, dataset=f"d{number}")
    figure = draw_figure("accuracy", data_of(runs))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"d{number}, linear" for number in range(7)]
    assert figure.get_label() == "Of 14 columns the first evaluation of each data set is shown."


@pytest.mark.parametrize("kind", ["accuracy", "gains"])
@pytest.mark.parametrize("width", [COLUMN_WIDTH, PAGE_WIDTH])
def test_no_title_runs_into_the_next(kind, width, store, runs, data_of):
    values = {"linear-graphnnclr2025": 60.0, "knn-of-a-long-name": 50.0, "linear": 55.0, "knn": 52.0}
    values |= {f"{name}>neighbour_mean-of-a-long-name": value + 1 for name, value in values.items()}
    for method in ("simclr", "byol"):
        store(values, method=method, dataset="cifar10-of-a-long-name")
    figure = draw_figure(kind, replace(data_of(runs), width=width))
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("error")  # where there is no room for the panels
        figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_column_with_one_method_is_not_drawn(store, runs, data_of):
    store({"linear": 60.0, "knn": 50.0}, dataset="cifar10")
    assert len(draw_figure("accuracy", data_of(runs)).axes) == 2
    store({"linear": 55.0}, method="byol", dataset="cifar10")
    figure = draw_figure("accuracy", data_of(runs))
    assert [axes.get_title() for axes in figure.axes] == ["cifar10, linear"]
    assert figure.get_label() == "Columns with one method are left out."


def test_the_caption_says_of_dots_what_holds(store, runs, data_of):
    store({"linear": 60.0})
    assert draw_figure("accuracy", data_of(runs)).get_label() == ""
    store({"linear": 61.0}, seed=1)
    assert draw_figure("accuracy", data_of(runs)).get_label() == "Dots below it are single seeds."
    for seed in range(2, MOST_DOTS + 2):
        store({"linear": 60.0 + seed % 3}, seed=seed)
    assert f"single seeds, {MOST_DOTS} at most." in draw_figure("accuracy", data_of(runs)).get_label()
