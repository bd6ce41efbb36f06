"""Accuracy against cost."""

from dataclasses import replace

from results.figures.draw import draw_figure


def test_cost_is_seconds_on_one_device_and_views_on_several(made, words_of):
    assert "seconds of pretraining" in words_of(draw_figure("cost", made))
    several = replace(made, results=made.results.assign(device=["one", "two"] * (len(made.results) // 2)))
    assert "million views" in words_of(draw_figure("cost", several))
