"""The report begins with what its numbers say."""

import pytest
from rich.console import Console

from results import report
from results.report import latex, markdown, terminal
from results.report.data import collect
from results.report.sections import build_sections


def lead(runs, **options):
    return build_sections(collect(runs, **options))[0].lead


@pytest.fixture
def grid(store):
    for seed in range(3):
        store({"linear": 60.0 + seed}, method="simclr", seed=seed)
        store({"linear": 59.5 + seed}, method="byol", seed=seed)
        store({"linear": 40.0 + seed / 10}, method="barlow", seed=seed)
        store({"linear": 30.0 + seed / 2}, method="random", seed=seed)
    store(method="vicreg", failure={"reason": "the loss became nan"})


def test_the_best_and_what_failed(grid, runs):
    best, failed = lead(runs)
    assert best == (
        "shapes, linear: simclr has the best mean, 61.00 ± 2.48 (random weights 30.50), but is not significantly "
        "different from byol; it is significantly better than barlow."
    )
    assert failed == "1 run failed: vicreg on shapes."


def test_every_format_begins_with_it(grid, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_all", lambda *_, **__: {})
    made = report.write(runs, tmp_path)
    with (console := Console(width=400)).capture() as capture:
        for block in terminal.render(made.sections, 400):
            console.print(block)
    sentence = "simclr has the best mean, 61.00 ± 2.48"
    for text, before in (
        (capture.get(), "Accuracy in percent"),
        ((tmp_path / "table.md").read_text(), "Accuracy in percent"),
        ((tmp_path / "index.html").read_text(), "<table"),
        ((tmp_path / "table.tex").read_text().replace("$\\pm$", "±"), "\\begin{tabular}"),
    ):
        assert 0 < text.index(sentence) < text.index(before)
    assert "simclr,61.0," in (tmp_path / "findings.csv").read_text()


def test_one_method_one_seed_and_nothing(store, runs):
    store(method="byol", failure={"reason": "x"})
    assert lead(runs) == ("No run has finished.", "1 run failed: byol on shapes.")
    store({"linear": 30.0}, method="random")
    assert lead(runs)[0] == "Only baselines have been measured: there is no method to compare yet."
    store({"linear": 60.0}, method="simclr")
    assert lead(runs)[0] == (
        "shapes, linear: simclr reaches 60.00 (random weights 30.00); no other method was measured."
    )
    store({"linear": 61.0}, method="vicreg")
    assert "it shares fewer than two seeds with simclr: whether they differ can't be told" in lead(runs)[0]


def test_a_long_list_is_counted(store, runs):
    for number in range(9):
        for seed, noise in enumerate((1, -1)):
            store({"linear": 60.0 - number / 10 + noise * (-1) ** number}, method=f"m{number}", seed=seed)
    assert "different from m1, m2, m3, m4, m5, m6 and 2 other methods." in lead(runs)[0]


def test_ranks_come_first_where_there_are_data_sets_enough(store, runs):
    for number in range(5):
        for seed in range(2):
            store({"linear": 60.0 + seed}, method="simclr", dataset=f"d{number}", seed=seed)
            store({"linear": 20.0 + seed / 2}, method="byol", dataset=f"d{number}", seed=seed)
    assert lead(runs)[0] == (
        "Over 5 data sets, linear: simclr has the best average rank, 1.0 of 2, significantly better than all others "
        "(critical difference 0.9)."
    )
    table = next(
        table for section in build_sections(collect(runs)) for table in section.tables if "ranks" in table.name
    )
    assert [(row.header[0], row.cells[0].text) for row in table.rows] == [("simclr", "1.00"), ("byol", "2.00")]


def test_refinements_that_help_are_named(store, runs):
    for seed in range(3):
        for method, level in (("simclr", 60.0), ("byol", 50.0)):
            noise = seed / 100
            values = {"linear": level, "linear>graph": level + 2 + noise, "linear>averaged": level - 3 + noise}
            store(values | {"linear>transductive": level + 9}, method=method, seed=seed)
    assert "shapes, linear, refinements on average over methods: graph helps; neighbour_mean hurts." in lead(runs)


def test_two_methods_are_compared_in_words_in_every_format(grid, runs):
    sections = build_sections(collect(runs, pair=("simclr", "byol")))
    assert [section.name for section in sections][:2] == ["answer", "pair"]
    (sentence,) = sections[1].lead
    assert sentence == (
        "shapes, linear: simclr 61.00, byol 60.50; the difference is +0.50 ± 0.00 points, paired over 3 seeds: simclr "
        "is better, and these seeds decide it."
    )
    for text in (markdown.render(sections), latex.render(sections).replace("$\\pm$", "±").replace("$-$", "−")):
        assert "the difference is +0.50 ± 0.00 points" in text
        assert "simclr − byol" in text


def test_what_would_decide_is_said_with_its_cost(store, runs):
    for seed, difference in enumerate([1.0, -0.5, 2.0]):
        store({"linear": 60.0 + difference}, method="simclr", seed=seed)
        store({"linear": 60.0}, method="byol", seed=seed)
    sentence = build_sections(collect(runs, pair=("simclr", "byol")))[1].lead[0]
    assert "no significant difference, and only one above 3.96 points is excluded" in sentence
    assert (
        "20 seeds would show one as large as the measured one in 80% of repetitions: 34 more runs, 13.0 min" in sentence
    )
