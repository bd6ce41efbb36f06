"""The figure of what refinements add."""

import pytest

from results.figures.draw import draw_figure, figure_data
from results.report import write
from results.report.data import collect


@pytest.fixture
def data(store, runs):
    """Two methods that gain 1 and 3 points by averaging and lose 5 by a leak, and a baseline that gains 50."""
    for seed in range(3):
        for method, gain in {"simclr": 1.0, "byol": 3.0, "random": 50.0}.items():
            bare = 40.0 + seed
            values = {"linear": bare, "linear>averaged": bare + gain, "linear>transductive": bare - 5, "knn": bare}
            store(values, method=method, seed=seed)
    report = collect(runs)
    (data,) = figure_data(report.frames, report.tables, None, every=True)
    return data


def test_it_shows_every_method_and_their_mean(data):
    styles = data.styles
    (axes,) = draw_figure("gains", data).axes
    assert axes.get_title() == "shapes, linear"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["neighbour_mean", "transductive †"]
    marks = [(line.get_marker(), round(line.get_ydata()[0]), round(line.get_xdata()[0], 9)) for line in axes.lines]
    simclr, byol = styles["simclr"].marker, styles["byol"].marker
    methods = [(simclr, 0, 1.0), (byol, 0, 3.0), (simclr, 1, -5.0), (byol, 1, -5.0)]
    assert {*methods, ("d", 0, 2.0), ("d", 1, -5.0)} <= {*marks}
    assert not [mark for mark in marks if mark[0] == styles["random"].marker]


def test_reports_have_it_where_something_was_refined(data, runs, tmp_path):
    report = write(runs, tmp_path / "report")
    assert "gains-quick-conv4.svg" in {path.name for path in report.files}
    assert "What refinements add" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("method", "values"), [("simclr", {}), ("random", {"linear>graph": 61.0})])
def test_reports_have_none_where_nothing_was_but_baselines(store, runs, tmp_path, method, values):
    store({"linear": 60.0, **values}, method=method)
    report = write(runs, tmp_path / "report")
    assert not [path for path in report.files if path.name.startswith("gains")]
