"""Which figures are drawn, and when they are drawn again."""

import pytest

from results.analysis.tables import by_table
from results.figures.draw import DRAWN, MOST_CELLS, draw_all, figure_data, largest_tables
from results.report.data import collect


def drawn(report, folder):
    """The names of the files of every table."""
    found = draw_all(figure_data(report.frames, report.tables, report.comparison, every=False), folder)
    return {table: {path.name for one in figures for path in one.files} for table, figures in found.items()}


def test_figures_are_drawn_again_only_where_something_changed(grid, runs, store, tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    names = drawn(collect(runs), folder)["quick-conv4"]
    assert {f"{kind}-quick-conv4.svg" for kind in ("accuracy", "curves")} <= names
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
    entry = [{"kind": "accuracy", "caption": "", "files": [lost.name], "page": lost.name}]
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
