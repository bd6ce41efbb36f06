"""Published tables in their own layout, and our numbers in them."""

from itertools import groupby

import pytest

from results import report
from results.figures.draw import draw_figure, figure_data
from results.published import load
from results.report.data import collect
from results.report.section import MISSING
from results.report.sections import build_sections

PAPER = {"protocol": "relational2020", "fairness": "recipe", "dataset": "cifar10", "epochs": 200}
RESNET = {"backbone": "resnet32", **PAPER}
ROWS = ["Supervised", "Random Weights", "DeepCluster", "RotationNet", "Deep InfoMax", "SimCLR", "Relational Reasoning"]


def published_of(runs, absent=()):
    data = collect(runs, published=True, absent=set(absent).__contains__)
    (section,) = (section for section in build_sections(data) if section.name == "published")
    return section


def series_of(runs):
    """The points of every published figure, by the name of its table."""
    tables = collect(runs, published=True).comparison.tables
    return {table.name: table.series for table in tables if table.series is not None}


def table_of(section, name):
    (table,) = (table for table in section.tables if table.title.endswith(name))
    return table


def cells_of(table, row, column):
    """The texts of one cell, by what its line holds."""
    index = [heading.name for heading in table.columns].index(column)
    return {line.header[1]: line.cells[index].text for line in table.rows if line.group == row}


def put(store, values, **options):
    for seed, value in enumerate(values, start=1):
        store({"linear": value}, seed=seed, **{**PAPER, **options})


@pytest.fixture
def section(store, runs):
    put(store, [61.0, 61.2, 61.3], method="relational")
    put(store, [41.0, 42.0, 43.0], method="simclr", label="relational2020[epochs=10]", epochs=10)
    return published_of(runs, absent=["slimagenet64", "tiny_imagenet", "stl10"])


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("Table 1", ROWS, ["CIFAR-100", "tiny-ImageNet", "10→100", "100→10", "CIFAR-100-20", "STL-10 finetune"]),
        (
            "Table 2",
            ROWS,
            [f"{b} {d}" for b in ("Conv-4", "ResNet-32") for d in ("CIFAR-10", "CIFAR-100", "tiny-ImageNet")],
        ),
        ("Table 3", [*ROWS[:2], ROWS[3], *ROWS[5:]], ["SlimageNet64"]),
    ],
)
def test_rows_and_columns_are_those_of_the_paper(section, name, rows, columns):
    table = table_of(section, name)
    assert list(dict.fromkeys(row.group for row in table.rows)) == rows
    assert [column.name for column in table.columns] == columns


def test_every_cell_has_a_verdict_or_a_reason(section):
    assert len(section.tables) == 8
    for table in section.tables:
        for _, lines in groupby(table.rows, key=lambda row: row.group):
            *others, verdicts = lines
            kinds = [line.header[1] for line in (*others, verdicts)]
            assert kinds in (["published", "verdict"], ["published", "ours", "difference", "verdict"])
            assert all(len(line.cells) == len(table.columns) for line in (*others, verdicts))
            assert all(cell.text != MISSING for cell in verdicts.cells)


def test_a_cell_shows_published_ours_difference_and_verdict(section):
    table = table_of(section, "Table 2")
    assert cells_of(table, "Relational Reasoning", "Conv-4 CIFAR-10") == {
        "published": "61.03 ± 0.23",
        "ours": "61.17 ± 0.38 (3)",
        "difference": "+0.14 ± 0.47 (1.95)",
        "verdict": "agrees",
    }
    simclr = cells_of(table, "SimCLR", "Conv-4 CIFAR-10")
    assert simclr["difference"] == "−18.43"
    assert simclr["verdict"] == "not comparable [1]"
    assert "[1] 10 epochs instead of 200" in table.notes
    assert cells_of(table, "SimCLR", "Conv-4 CIFAR-100")["verdict"] == "not run"
    assert cells_of(table, "DeepCluster", "Conv-4 tiny-ImageNet") == {
        "published": "12.60 ± 1.23",
        "verdict": "data not here",
    }
    assert cells_of(table_of(section, "Table 1"), "Random Weights", "STL-10 finetune") == {
        "published": MISSING,
        "verdict": "not published",
    }


def test_a_column_names_what_it_is_here(section):
    about = {column.name: column.about for column in table_of(section, "Table 1").columns}
    assert about["10→100"] == ("cifar10 → cifar100", "resnet32 linear")
    assert about["STL-10 finetune"] == ("stl10", "resnet34 finetune")
    assert {column.about for column in table_of(section, "Figure 2c").columns} == {()}


def test_every_published_number_of_a_table_is_in_it_once():
    for _, cells in load().groupby(["source", "table"]):
        assert not cells.duplicated(["row", "column"]).any()


def test_the_nearest_conditions_fill_a_cell(store, runs, no_figures):
    put(store, [70.0, 70.1], method="relational", label="relational2020[epochs=10]", method_label="relational[views=4]")
    assert shown(runs) == "70.05 ± 0.64 (2)"
    put(store, [50.0, 50.1], method="relational", protocol="quick")
    assert shown(runs) == "70.05 ± 0.64 (2)"
    put(store, [51.0, 51.1], method="relational", label="relational2020[views=100]", epochs=None, views=100)
    assert shown(runs) == "51.05 ± 0.64 (2)"
    put(store, [52.0, 52.1], method="relational", label="relational2020[views=900]", epochs=None, views=900)
    assert shown(runs) == "52.05 ± 0.64 (2)"
    put(store, [53.0, 53.1], method="relational")
    assert shown(runs) == "53.05 ± 0.64 (2)"


def shown(runs):
    return cells_of(table_of(published_of(runs), "Table 2"), "Relational Reasoning", "Conv-4 CIFAR-10")["ours"]


def test_agreement_is_counted_of_trained_methods_only(store, runs, no_figures):
    put(store, [75.0, 75.1, 74.9], method="relational", backbone="resnet32")
    put(store, [70.0, 70.1, 70.2], method="rotnet", backbone="resnet32")
    put(store, [73.0, 77.0, 76.0], method="simclr", backbone="resnet32")
    put(store, [43.3], method="deepcluster", backbone="resnet32")
    put(store, [99.0, 99.0], method="supervised", backbone="resnet32")
    put(store, [27.47, 27.46, 27.48], method="random", backbone="resnet32")
    table = table_of(published_of(runs), "Table 2")
    assert table.notes[0] == (
        "Numbers: 42 published, 6 measured here. 4 trained methods under the same conditions so far; agrees: 1, "
        "differs: 1, cannot tell: 2."
    )
    verdicts = {name: cells_of(table, name, "ResNet-32 CIFAR-10")["verdict"] for name in ROWS if name != "Deep InfoMax"}
    reasons = {note[:3]: note[4:] for note in table.notes if note.startswith("[")}
    assert {name: verdict.partition(" [")[0] for name, verdict in verdicts.items()} == {
        "Supervised": "not comparable",
        "Random Weights": "cannot tell",
        "DeepCluster": "cannot tell",
        "RotationNet": "differs",
        "SimCLR": "cannot tell",
        "Relational Reasoning": "agrees",
    }
    assert reasons[verdicts["Random Weights"][-3:]] == "random weights say nothing of training"
    assert reasons[verdicts["DeepCluster"][-3:]] == "one seed"


def test_untrained_and_incomparable_runs_count_for_nothing(store, runs):
    put(store, [27.47, 27.46, 27.48], method="random", backbone="resnet32")
    put(store, [77.0, 77.1, 77.05], method="simclr", backbone="resnet32", protocol="quick", label="")
    table = table_of(published_of(runs), "Table 2")
    assert table.notes[0].endswith("2 measured here. 0 trained methods under the same conditions so far.")


def test_what_two_tables_repeat_counts_once(store, runs):
    put(store, [46.0, 46.3, 46.1], method="relational", backbone="resnet32", dataset="cifar100")
    section = published_of(runs)
    for name in ("Table 1", "Table 2"):
        assert "agrees: 1, differs: 0, cannot tell: 0." in table_of(section, name).notes[0]
    (line,) = (note for note in section.notes if note.startswith("Patacchiola"))
    # Figure 2c's point for all labels is measured by the same runs, under other conditions.
    assert (
        "2 measured here. 1 trained method under the same conditions so far; agrees: 1, differs: 0, cannot tell: 0."
        in line
    )


def test_a_number_that_was_not_found_at_its_source_is_marked(store, runs):
    put(store, [90.0, 90.1], method="byol", backbone="timm:resnet18@small", protocol="quick", label="")
    section = published_of(runs)
    table = table_of(section, "Ermolov et al. 2021, Table 1")
    assert cells_of(table, "BYOL", "CIFAR-10 linear")["published"] == "91.73 ‡"
    assert "‡ secondary: copied in two READMEs of the ACT project; the paper itself was not seen." in table.notes
    assert not any("‡" in note for note in table_of(section, "solo-learn README (9187ea3), CIFAR-10").notes)


def test_tables_that_nothing_was_run_of_are_named_only(section, store, runs, no_figures):
    assert {table.title.partition(",")[0] for table in section.tables} == {"Patacchiola & Storkey 2020"}
    others = [source for source in load()["source"].unique() if not source.startswith("Patacchiola")]
    assert section.notes[-1] == f"Nothing was run of {'; '.join(others)}. published.csv holds their numbers."
    put(store, [90.0, 90.1], method="simclr", backbone="timm:resnet18@small", protocol="quick", label="")
    found = published_of(runs)
    assert cells_of(table_of(found, "solo-learn README (9187ea3), CIFAR-10"), "SimCLR", "top1")["published"] == "90.74"
    assert "solo-learn README (9187ea3), CIFAR-100; solo-learn README (9187ea3), ImageNet-100" in found.notes[-1]


def test_runs_that_no_paper_reports_leave_no_table(store, runs):
    store({"linear": 60.0})
    section = published_of(runs)
    assert section.tables == ()
    (note,) = section.notes
    assert "Patacchiola & Storkey 2020" in note


def put_series(store, label="relational2020", **options):
    for seed in (1, 2, 3):
        for views in (2, 4, 8, 32):
            method = "relational" if views == 32 else f"relational[views={views}]"
            values = {"linear": 50 + views / 8 + seed / 10 * (views == 8)}
            store(values, method="relational", method_label=method, seed=seed, label=label, **{**PAPER, **options})


def put_fractions(store):
    for dataset, level in (("cifar10", 70.0), ("cifar100", 40.0)):
        for seed in (1, 2, 3):
            values = {f"linear-{f}": level + f / 10 + seed for f in (1, 10, 25, 50)} | {"linear": level + 12 + seed}
            store(values, method="relational", seed=seed, evaluations=tuple(values), **{**RESNET, "dataset": dataset})


def test_points_of_a_published_figure_stand_beside_ours(store, runs):
    put_series(store)
    put_series(store, label="relational2020[views=900]", epochs=None, views=900)
    (points,) = series_of(runs).values()
    assert list(points["origin"].unique()) == ["published", "ours, relational2020", "ours, relational2020[views=900]"]
    ours = points[points["origin"] == "ours, relational2020"].set_index("x")
    assert ours["value"].to_dict() == pytest.approx({4: 0.25, 8: 0.95, 32: 3.75})
    assert ours["half"][8] == pytest.approx(0.2484138)
    theirs = points[(points["origin"] == "published") & (points["method"] == "relational")].set_index("x")
    assert theirs["value"].to_dict() == {4: 2.7, 8: 3.9, 16: 5.0, 32: 5.0}
    assert set(points["xlabel"]) == {"views"}
    assert set(points["ylabel"]) == {"gain over views=2 (points)"}


def published_data(runs):
    report_data = collect(runs, published=True)
    shown = figure_data(report_data.frames, report_data.tables, report_data.comparison, every=True)
    return [data for data in shown if not data.points.empty]


def test_published_figures_are_drawn(store, runs):
    put_series(store)
    put_fractions(store)
    series = series_of(runs)
    assert [name.rpartition("_")[2] for name in series] == ["2a", "2b", "2c"]
    panels = (["resnet32"], ["cifar10, conv4"], ["cifar10, resnet32", "cifar100, resnet32"])
    for data, titles in zip(published_data(runs), panels, strict=True):
        figure = draw_figure("published", data)
        assert [axes.get_title() for axes in figure.axes] == titles, data.name
        assert [text.get_text() for text in figure.legends[1].get_texts()] == ["ours, relational2020", "published"]
    drawn = figure.axes[0].containers
    assert sorted(tuple(lines[0].get_ydata()) for lines in drawn) == [
        (72.1, 73.0, 74.5, 77.0, 84.0),
        (76.5, 80.1, 85.2, 89.3, 90.6),
    ]


def test_a_figure_whose_places_are_no_numbers_names_them(store, runs, no_figures):
    put(store, [51.0, 50.0, 52.0], method="simclr")
    put(store, [67.0, 66.5, 68.5], method="simclr", backbone="resnet32")
    (points,) = series_of(runs).values()
    assert set(points["ylabel"]) == {"gain over conv4 (points)"}
    (data,) = published_data(runs)
    (axes,) = draw_figure("published", data).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["CIFAR-10", "CIFAR-100", "tiny-ImageNet"]
    (ours,) = (lines for lines in axes.containers if len(lines[0].get_ydata()) == 1)
    assert ours[0].get_ydata() == pytest.approx([16.3333333])


def test_figures_go_to_the_folder_and_the_page(store, runs, tmp_path):
    put_series(store)
    made = report.write(runs, tmp_path, published=True)
    names = {path.name for path in made.files}
    stem = "published-Patacchiola_Storkey_2020-Figure_2b"
    assert {f"{stem}.{kind}" for kind in ("svg", "png", "pdf")} <= names
    assert (tmp_path / "index.html").read_text().count("<svg") == 3
    report.write(runs, tmp_path)
    assert not list((tmp_path / "figures").glob("published-*"))
