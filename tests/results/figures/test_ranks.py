"""Critical-difference diagrams: nothing hides anything."""

import itertools

import matplotlib as mpl
import pytest

from results.figures.draw import draw_figure
from results.figures.ranks import bars, ranks
from results.figures.style import STYLE
from tests.tools.synthetic_grid import DATASETS, METHODS, write_grid


@pytest.mark.parametrize("count", [3, 12, 28])
def test_labels_and_bars_do_not_overlap(count, runs, data_of, words_of):
    methods = METHODS[:count]
    write_grid(runs, methods, DATASETS[:5], seeds=1)
    figure = draw_figure("ranks", data_of(runs))
    with mpl.rc_context(STYLE):
        words = words_of(figure)
    assert all(any(f"{method} " in word or word.endswith(f" {method}") for word in words) for method in methods)
    for axes in figure.axes:
        with mpl.rc_context(STYLE):
            boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == count + 1
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_nothing_is_drawn_of_few_data_sets(made):
    assert ranks(made) is None


class Found:
    def __init__(self, ranks, cliques):
        self.ranks, self.cliques = ranks, cliques


def test_bars_that_overlap_have_different_levels():
    drawn = bars(Found([1.0, 2.0, 3.0, 4.0, 5.0], [(0, 2), (1, 3), (3, 4)]))
    assert [level for _, _, level in drawn] == [0, 1, 0]
