"""What the tests of figures share: a small grid of runs, and what the figures of its table show."""

import pytest

from results.figures.draw import figure_data
from results.report.data import collect


@pytest.fixture
def grid(store):
    for method, level in {"supervised": 90.0, "simclr": 60.0, "byol[momentum=0.9]": 55.0, "random": 30.0}.items():
        for seed in range(3):
            name = method.partition("[")[0]
            values = {"linear": level + seed, "knn": level - 5 + seed}
            store(values, method=name, method_label=method, seed=seed, seconds=10.0 + seed)


@pytest.fixture
def data_of():
    """Returns what the figures of the only table of a runs folder show."""

    def find(runs):
        report = collect(runs)
        (data,) = figure_data(report.frames, report.tables, report.comparison, every=True)
        return data

    return find


@pytest.fixture
def made(grid, runs, data_of):
    return data_of(runs)


@pytest.fixture
def words_of():
    """Returns all text of a figure."""

    def find(figure):
        figure.draw_without_rendering()
        return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]

    return find
