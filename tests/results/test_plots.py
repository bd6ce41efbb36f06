"""Figures: what they show, and that the same numbers make the same files."""

from xml.etree import ElementTree as ET

import pytest

from results import plots
from results.figures import DRAWN, MOST_CELLS, draw, drawings, histories, largest
from results.looks import COLOURS, looks
from results.report import collect
from results.svg import inline
from results.tables import by_section


@pytest.fixture
def grid(store):
    for method, level in {"supervised": 90.0, "simclr": 60.0, "byol[momentum=0.9]": 55.0, "random": 30.0}.items():
        for seed in range(3):
            name = method.partition("[")[0]
            values = {"linear": level + seed, "knn": level - 5 + seed}
            store(values, method=name, method_label=method, seed=seed, seconds=10.0 + seed)


@pytest.fixture
def made(grid, runs):
    report = collect(runs)
    (table,) = report.tables
    return table, report.frames.results, looks(report.frames.results["method"].unique())


def words_of(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_accuracy_shows_means_seeds_and_intervals(made):
    table, trials, styles = made
    figure = plots.accuracy(table, trials, styles)
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


def test_axes_show_no_impossible_percentages(store, runs):
    for seed, value in enumerate((60.0, 99.0)):
        store({"linear": value}, seed=seed)
    report = collect(runs)
    styles = looks(report.frames.results["method"])
    (axes,) = plots.accuracy(report.tables[0], report.frames.results, styles).axes
    assert axes.get_xlim() == (-2, 102)
    (axes,) = plots.cost(report.tables[0], report.frames.results, styles).axes
    assert axes.get_ylim() == (-2, 102)


def test_curves_span_from_one_to_zero_in_each_panel(made, runs):
    table, trials, styles = made
    history = histories(trials, runs)
    methods = [row.method for row in table.rows if row.method != "random"]
    figure = plots.curves(history, methods, styles)
    assert [axes.get_title() for axes in figure.axes] == methods
    for axes in figure.axes:
        assert len(axes.lines) == 3
        assert list(axes.lines[0].get_ydata()) == pytest.approx([1, (2 - 1) / 3, (4 / 3 - 1) / 3, 0])
        assert list(axes.lines[0].get_xdata()) == [40, 80, 120, 160]
    assert "4 → 1" in words_of(figure)
    assert "thousand views" in words_of(figure)


def test_a_loss_that_never_moves_is_drawn(made, runs):
    _, trials, styles = made
    history = histories(trials, runs).assign(loss=0.5)
    figure = plots.curves(history, ["simclr"], styles)
    assert set(figure.axes[0].lines[0].get_ydata()) == {0.0}


def test_cost_is_seconds_on_one_device_and_views_on_several(made):
    table, trials, styles = made
    figure = plots.cost(table, trials, styles)
    assert "seconds of pretraining" in words_of(figure)
    trials = trials.assign(device=["one", "two"] * (len(trials) // 2))
    assert "million views" in words_of(plots.cost(table, trials, styles))


def test_files_are_the_same_every_time(made, tmp_path):
    table, trials, styles = made
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        paths = plots.save(plots.accuracy(table, trials, styles), folder, "accuracy")
        assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert sorted(path.name for path in folder.iterdir()) == ["accuracy.pdf", "accuracy.png", "accuracy.svg"]


def test_looks_are_distinct_and_do_not_move():
    methods = [f"method{number}" for number in range(30)] + ["supervised", "random"]
    found = looks(methods)
    assert len({(look.colour, look.marker) for look in found.values()}) == len(methods)
    few = ["simclr", "relational", "byol"]
    assert looks(few) == {method: looks([*few, "supervised"])[method] for method in few}
    assert len({look.colour for look in looks(few).values()}) == 3
    assert len(COLOURS) == len(set(COLOURS))


def test_a_dollar_in_a_label_is_no_formula(store, runs, tmp_path):
    store({"linear": 60.0}, method_label="simclr[a=$x_1$,b=$]")
    report = collect(runs)
    styles = looks(report.frames.results["method"])
    plots.save(plots.accuracy(report.tables[0], report.frames.results, styles), tmp_path, "accuracy")


def drawn(report, runs, folder, **options):
    wanted = drawings(report.frames, report.tables, report.papers, runs, **{"every": False, **options})
    return draw(wanted, folder)


def test_figures_are_drawn_again_only_where_something_changed(grid, runs, store, tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    names = {path.name for path in drawn(collect(runs), runs, folder)["quick-conv4"]}
    assert {f"{kind}-quick-conv4.svg" for kind in ("accuracy", "curves", "cost")} <= names
    monkeypatch.setattr("results.figures.draw_one", lambda *_: pytest.fail("drawn again"))
    assert {path.name for path in drawn(collect(runs), runs, folder)["quick-conv4"]} == names
    monkeypatch.undo()
    calls = []
    monkeypatch.setattr("results.figures.draw_one", lambda drawing, _: calls.append(drawing.name) or [])
    store({"linear": 61.0}, seed=3)
    drawn(collect(runs), runs, folder)
    assert calls == ["quick-conv4"]


def test_a_lost_file_or_a_damaged_memory_is_no_harm(grid, runs, tmp_path, monkeypatch):
    folder, report = tmp_path / "figures", collect(runs)
    lost = folder / "accuracy-quick-conv4.svg"
    monkeypatch.setattr("results.figures.draw_one", lambda *_: lost.touch() or [lost.name])
    drawn(report, runs, folder)
    lost.unlink()
    drawn(report, runs, folder)
    assert lost.exists()
    for text in ("", "[]", '{"quick-conv4": {}}'):
        (folder / DRAWN).write_text(text)
        assert drawn(report, runs, folder) == {"quick-conv4": [lost]}


def test_figures_of_tables_that_are_gone_are_removed(grid, runs, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "accuracy-old-conv4.svg").touch()
    (folder / "accuracy-notes.txt").touch()
    (folder / "mine.svg").touch()
    drawn(collect(runs), runs, folder)
    assert not (folder / "accuracy-old-conv4.svg").exists()
    assert (folder / "accuracy-notes.txt").exists()
    assert (folder / "mine.svg").exists()


def test_many_tables_get_figures_by_size_unless_all_are_wanted(store, runs, monkeypatch):
    for number, seeds in enumerate((1, 3, 2)):
        for seed in range(seeds):
            store({"linear": 60.0}, label=f"quick[lr={number}]", seed=seed)
    report = collect(runs)
    results = by_section(report.frames.results)
    assert MOST_CELLS > 3
    assert largest(report.tables, results) == list(report.tables)
    monkeypatch.setattr("results.figures.MOST_CELLS", 2)
    assert [table.title for table in largest(report.tables, results)] == ["quick[lr=1] · conv4", "quick[lr=2] · conv4"]
    monkeypatch.setattr("results.figures.MOST_CELLS", 0)
    assert [table.title for table in largest(report.tables, results)] == ["quick[lr=1] · conv4"]


def test_inlined_figures_are_named_and_keep_their_references(made, tmp_path):
    table, trials, styles = made
    (svg, *_) = plots.save(plots.accuracy(table, trials, styles), tmp_path, "accuracy")
    text = inline(svg.read_text(), name="a", title="T & t", description="D")
    assert "http" not in text
    root = ET.fromstring(text.replace("<svg ", '<svg xmlns:xlink="x" ', 1))  # noqa: S314 - our own
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "a-title a-desc"
    assert [root[0].tag, root[0].text, root[1].tag, root[1].text] == ["title", "T & t", "desc", "D"]
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    assert all(name.startswith("a-") for name in names)
    used = {element.get("{x}href")[1:] for element in root.iter() if element.get("{x}href")}
    assert used
    assert used <= set(names)
