"""Accuracy against cost."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from results.figures.cost import costs_of, draw_front
from results.figures.draw import draw_figure


def with_costs(data, **factors):
    """The same with costs of one method multiplied."""
    results = data.results.copy()
    for key, factor in factors.items():
        results.loc[results["method"] == "simclr", key] *= factor
    return replace(data, results=results)


def test_costs_are_shown_where_methods_differ_in_them(made, words_of):
    words = words_of(draw_figure("cost", with_costs(made, flops=2.0, pretrain_seconds=3.0)))
    assert "TFLOPs of pretraining" in words
    assert "minutes of pretraining" in words
    assert "million views" not in words
    assert draw_figure("cost", made) is None


def test_the_caption_says_what_holds_of_the_figure(made):
    data = with_costs(made, flops=2.0, pretrain_seconds=3.0)
    said = "Dots are single seeds. random: the dotted line, since nothing is trained."
    one_machine = "All runs were made on one machine, as far as records tell."
    assert draw_figure("cost", data).get_label() == f"{said} {one_machine}"
    assert draw_figure("cost", replace(data, machines=2)).get_label() == said


def test_time_is_compared_on_one_machine_only(made):
    data = with_costs(made, flops=2.0, pretrain_seconds=3.0)
    assert data.machines == 1
    assert costs_of(data.results, 1) == ["flops", "pretrain_seconds"]
    assert costs_of(data.results, 2) == ["flops"]
    assert costs_of(data.results.assign(flops=float("nan")), 1) == ["pretrain_seconds"]


@pytest.mark.parametrize(
    ("sign", "front"), [(1, [(1, 50), (2, 60), (4, 70)]), (-1, [(1, 50), (3, 40)])], ids=["accuracy", "error"]
)
def test_the_front_has_what_nothing_beats_at_less_cost(sign, front):
    axes = Figure().subplots()
    draw_front(axes, [(1, 50), (2, 60), (3, 40), (4, 70), (5, 70)], sign)
    (line,) = axes.lines
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == front
