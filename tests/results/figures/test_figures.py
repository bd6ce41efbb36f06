"""Figures: what they show, and that the same numbers make the same files."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from results.analysis.tables import by_table
from results.errors import BrokenPlugin
from results.figures import BUILT_IN, _registered, figure_names, get_figure, register_figure
from results.figures.accuracy import MOST_DOTS
from results.figures.data import CURVE_SEEDS
from results.figures.draw import DRAWN, MOST_CELLS, draw_all, draw_figure, figure_data, largest_tables
from results.figures.markers import BASELINE_STYLES, COLOURS, method_styles
from results.figures.style import save
from results.figures.svg import inline
from results.report.data import collect


@pytest.fixture
def grid(store):
    for method, level in {"supervised": 90.0, "simclr": 60.0, "byol[momentum=0.9]": 55.0, "random": 30.0}.items():
        for seed in range(3):
            name = method.partition("[")[0]
            values = {"linear": level + seed, "knn": level - 5 + seed}
            store(values, method=name, method_label=method, seed=seed, seconds=10.0 + seed)


@pytest.fixture
def made(grid, runs):
    return data_of(runs)


def data_of(runs):
    report = collect(runs)
    (data,) = figure_data(report.frames, report.tables, report.comparison, every=True)
    return data


def words_of(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_accuracy_shows_means_seeds_and_intervals(made):
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


def test_axes_show_no_impossible_percentages(store, runs):
    for seed, value in enumerate((60.0, 99.0)):
        store({"linear": value}, seed=seed)
    (axes,) = draw_figure("accuracy", data_of(runs)).axes
    assert axes.get_xlim() == (-2, 102)
    (axes,) = draw_figure("cost", data_of(runs)).axes
    assert axes.get_ylim() == (-2, 102)


def test_curves_span_from_one_to_zero_in_each_panel(made):
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


def test_cost_is_seconds_on_one_device_and_views_on_several(made):
    assert "seconds of pretraining" in words_of(draw_figure("cost", made))
    several = replace(made, results=made.results.assign(device=["one", "two"] * (len(made.results) // 2)))
    assert "million views" in words_of(draw_figure("cost", several))


def test_files_are_the_same_every_time(made, tmp_path):
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        paths = save(draw_figure("accuracy", made), folder, "accuracy")
        assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert sorted(path.name for path in folder.iterdir()) == ["accuracy.pdf", "accuracy.png", "accuracy.svg"]


def test_styles_are_distinct_and_do_not_change():
    names = [f"method{number}" for number in range(30)]
    methods = {**dict.fromkeys(names, ""), "supervised": "upper", "random": "lower"}
    found = method_styles(methods)
    assert len({(style.colour, style.marker) for style in found.values()}) == len(methods)
    few = dict.fromkeys(["simclr", "relational", "byol"], "")
    assert method_styles(few) == {name: method_styles({**few, "supervised": "upper"})[name] for name in few}
    assert len({style.colour for style in method_styles(few).values()}) == 3
    assert len(COLOURS) == len(set(COLOURS))


def test_of_several_baselines_of_a_kind_one_is_black():
    found = method_styles({"supervised[epochs=9]": "upper", "supervised": "upper", "noise": "lower"})
    assert found["supervised"] == BASELINE_STYLES["upper"]
    assert found["noise"] == BASELINE_STYLES["lower"]
    assert found["supervised[epochs=9]"].colour in COLOURS


def test_a_dollar_in_a_label_is_no_formula(store, runs, tmp_path):
    store({"linear": 60.0}, method_label="simclr[a=$x_1$,b=$]")
    save(draw_figure("accuracy", data_of(runs)), tmp_path, "accuracy")


def drawn(report, folder):
    """The names of the files of every table."""
    found = draw_all(figure_data(report.frames, report.tables, report.comparison, every=False), folder)
    return {table: {path.name for one in figures for path in one.files} for table, figures in found.items()}


def test_figures_are_drawn_again_only_where_something_changed(grid, runs, store, tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    names = drawn(collect(runs), folder)["quick-conv4"]
    assert {f"{kind}-quick-conv4.svg" for kind in ("accuracy", "curves", "cost")} <= names
    monkeypatch.setattr("results.figures.draw.draw_table", lambda *_: pytest.fail("drawn again"))
    assert drawn(collect(runs), folder)["quick-conv4"] == names
    monkeypatch.undo()
    calls = []
    monkeypatch.setattr("results.figures.draw.draw_table", lambda data, _: calls.append(data.name) or [])
    store({"linear": 61.0}, seed=3)
    drawn(collect(runs), folder)
    assert calls == ["quick-conv4"]


def test_a_lost_file_or_a_damaged_memory_is_no_harm(grid, runs, tmp_path, monkeypatch):
    folder, report = tmp_path / "figures", collect(runs)
    lost = folder / "accuracy-quick-conv4.svg"
    entry = [{"kind": "accuracy", "caption": "", "files": [lost.name]}]
    monkeypatch.setattr("results.figures.draw.draw_table", lambda *_: lost.touch() or entry)
    drawn(report, folder)
    lost.unlink()
    drawn(report, folder)
    assert lost.exists()
    earlier = '{"quick-conv4": {"digest": "a", "files": ["accuracy-quick-conv4.svg"]}}'
    for text in ("", "[]", '{"quick-conv4": {}}', earlier):
        (folder / DRAWN).write_text(text)
        assert drawn(report, folder) == {"quick-conv4": {lost.name}}


def test_figures_of_tables_that_are_gone_are_removed(grid, runs, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "accuracy-old-conv4.svg").touch()
    (folder / "accuracy-notes.txt").touch()
    (folder / "mine.svg").touch()
    drawn(collect(runs), folder)
    assert not (folder / "accuracy-old-conv4.svg").exists()
    assert (folder / "accuracy-notes.txt").exists()
    assert (folder / "mine.svg").exists()


def test_many_tables_get_figures_by_size_unless_all_are_wanted(store, runs, monkeypatch):
    for number, seeds in enumerate((1, 3, 2)):
        for seed in range(seeds):
            store({"linear": 60.0}, label=f"quick[lr={number}]", seed=seed)
    report = collect(runs)
    results = by_table(report.frames.unrefined)
    assert MOST_CELLS > 3
    assert largest_tables(report.tables, results) == list(report.tables)
    monkeypatch.setattr("results.figures.draw.MOST_CELLS", 2)
    titles = [table.title for table in largest_tables(report.tables, results)]
    assert titles == ["quick[lr=1] · conv4", "quick[lr=2] · conv4"]
    monkeypatch.setattr("results.figures.draw.MOST_CELLS", 0)
    assert [table.title for table in largest_tables(report.tables, results)] == ["quick[lr=1] · conv4"]
    shown = [data.title for data in figure_data(report.frames, report.tables, None, every=True)]
    assert shown == [table.title for table in report.tables]


@pytest.fixture
def plugin():
    """Registers a figure called ``best`` for one test."""

    @register_figure("best")
    def best(data):
        """The best method alone."""
        if data.table is None:
            return None
        figure = Figure()
        figure.subplots().set_title(data.table.rows[0].method)
        return figure

    yield best
    del _registered["best"]


def test_a_figure_of_a_plugin_is_drawn_with_the_others(grid, runs, tmp_path, plugin):
    report = collect(runs)
    found = draw_all(figure_data(report.frames, report.tables, None, every=False), tmp_path / "figures")
    figure = found["quick-conv4"][-1]
    assert (figure.kind, figure.caption) == ("best", "The best method alone.")
    assert "supervised" in figure.files[0].read_text()
    assert figure_names() == [*BUILT_IN, "best"]


def test_a_name_is_taken_once(plugin):
    def other(data):
        return None

    other.__module__ = "elsewhere"
    with pytest.raises(BrokenPlugin, match="two figures are called 'best'"):
        register_figure("best")(other)


def test_captions_name_the_limits_that_hold():
    assert f"{MOST_DOTS} at most" in get_figure("accuracy").__doc__
    assert f"first {CURVE_SEEDS} seeds" in get_figure("curves").__doc__


def test_inlined_figures_are_named_and_keep_their_references(made, tmp_path):
    (svg, *_) = save(draw_figure("accuracy", made), tmp_path, "accuracy")
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
