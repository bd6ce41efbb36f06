"""The main tables, and that every format shows the same numbers."""

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from results import report
from results.report import terminal
from results.report.data import collect
from results.report.sections import build_sections

SEEDS = {
    "supervised": [90.0, 91.0, 92.0],
    "simclr": [60.0, 61.0, 62.0],
    "byol": [59.5, 60.5, 61.5],
    "barlow": [40.0, 40.1, 40.2],
    "random": [30.0, 30.5, 31.0],
}


@pytest.fixture
def grid(store):
    for method, values in SEEDS.items():
        for seed, value in enumerate(values):
            store({"linear": value, "knn": value - 5}, method=method, seed=seed)


def sections(runs):
    """One per protocol and backbone."""
    return [section for section in build_sections(collect(runs)) if section.name.startswith("table-")]


def main_table(runs):
    (section,) = sections(runs)
    return section.tables[0]


def texts(table):
    return {row.header[0]: [cell and cell.text for cell in row.cells] for row in table.rows}


def test_baselines_frame_the_methods_which_are_ordered_by_mean(grid, runs):
    table = main_table(runs)
    assert [row.header for row in table.rows] == [("supervised",), ("simclr",), ("byol",), ("barlow",), ("random",)]
    assert [row.group for row in table.rows] == ["upper", "", "", "", "lower"]
    assert [(column.group, column.name) for column in table.columns] == [("shapes", "linear"), ("shapes", "knn")]


def test_cells_by_hand(grid, runs):
    table = main_table(runs)
    found = texts(table)
    # Half-widths: t(0.975, 2) / sqrt(3) = 2.484138 times the standard deviations 1, 0.1 and 0.5.
    assert found["simclr"] == ["61.00 ± 2.48 (3)", "56.00 ± 2.48 (3)"]
    assert found["byol"] == ["60.50 ± 2.48 (3) ≈", "55.50 ± 2.48 (3) ≈"]
    assert found["barlow"] == ["40.10 ± 0.25 (3)", "35.10 ± 0.25 (3)"]
    assert found["random"] == ["30.50 ± 1.24 (3)", "25.50 ± 1.24 (3)"]
    assert [[cell.is_best for cell in row.cells] for row in table.rows] == [[False] * 2, [True] * 2, *[[False] * 2] * 3]


def test_differences_are_paired_and_leave_baselines_out(grid, runs):
    (section,) = sections(runs)
    assert {name: cells[0] for name, cells in texts(section.tables[1]).items()} == {
        "byol": "−0.50 ± 0.00 (3)",
        "barlow": "−20.90 ± 2.24 (3)",
    }


def test_caption_says_what_the_numbers_were_made_under(grid, runs):
    table = main_table(runs)
    for words in ("95 % Student-t", "quick version 1", "fairness controlled", "conv4", "160,000 views", "seeds 0–2"):
        assert words in table.caption


def test_protocols_backbones_and_versions_are_never_mixed(store, runs):
    store({"linear": 60.0}, seed=0)
    store({"linear": 61.0}, seed=0, label="quick[lr=0.1]")
    store({"linear": 62.0}, seed=0, backbone="resnet8")
    store({"linear": 63.0}, seed=0, protocol="relational2020", fairness="recipe")
    found = sections(runs)
    assert sorted(section.title for section in found) == [
        *["quick · conv4", "quick · resnet8", "quick[lr=0.1] · conv4", "relational2020 · conv4"]
    ]
    assert sorted(text for section in found for (text,) in texts(section.tables[0]).values()) == [
        *["60.00 (1)", "61.00 (1)", "62.00 (1)", "63.00 (1)"]
    ]
    assert len({section.name for section in found}) == 4


def test_one_seed_has_no_interval_and_a_note(store, runs):
    store({"linear": 60.0})
    (section,) = sections(runs)
    assert texts(section.tables[0]) == {"simclr": ["60.00 (1)"]}
    assert any("one seed" in note for note in section.tables[0].notes)
    assert not [table for table in section.tables if table.name.endswith("-differences")]


def test_missing_baselines_are_named(store, runs):
    store({"linear": 60.0}, method="simclr")
    store({"linear": 30.0}, method="random")
    table = main_table(runs)
    assert any("supervised baseline has not been measured" in note for note in table.notes)
    assert not any("random baseline" in note for note in table.notes)


def test_partial_missing_and_collapsed_cells(store, runs):
    for seed in range(3):
        store({"linear": 60.0 + seed}, method="simclr", seed=seed)
    store({"linear": 50.0}, method="byol", seed=0, warning="std 0.01")
    store(method="byol", seed=1, failure={"reason": "the loss became nan in epoch 2"})
    store({"linear": 70.0}, method="simclr", dataset="digits")
    (section,) = sections(runs)
    table = section.tables[0]
    assert texts(table) == {"simclr": ["70.00 (1)", "61.00 ± 2.48 (3)"], "byol": [None, "50.00 (1/3) ≈†"]}
    assert any(note.startswith("(2/3)") for note in table.notes)
    assert any(note.startswith("†") for note in table.notes)
    assert section.problems == (
        "byol on shapes, seed 0: collapsed: std 0.01",
        "byol on shapes, seed 1: failed: the loss became nan in epoch 2",
        "byol on digits, seed 0: missing: no run was started",
        "byol on shapes, seed 2: missing: no run was started",
    )


def test_only_failures_still_make_a_table(store, runs):
    for seed in range(4):
        store(seed=seed, failure={"reason": "out of memory"})
    (section,) = sections(runs)
    assert section.tables == ()
    assert "quick version 1" in section.text
    assert section.problems == ("simclr on shapes, seeds 0–3: failed: out of memory",)


def test_evaluated_elsewhere_and_other_metrics_are_columns_of_their_own(store, runs):
    store({"linear": 60.0, "linear/top5": 90.0}, dataset="cifar10", seed=0)
    store({"linear": 30.0}, dataset="cifar10", seed=0, evaluated_on="cifar100", epochs=3, label="quick")
    assert [" ".join(column.lines) for column in main_table(runs).columns] == [
        *["cifar10 linear", "cifar10 linear top5", "cifar10 → cifar100 linear"]
    ]


class Cells(HTMLParser):
    """Collects the text of table cells."""

    def __init__(self):
        super().__init__()
        self.inside, self.found = False, []

    def handle_starttag(self, tag, attrs):
        if tag == "td":
            self.inside = True
            self.found.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def test_every_format_shows_the_same_numbers(grid, runs, tmp_path):
    made = report.write(runs, tmp_path / "report")
    main, differences = made.sections[0].tables[:2]
    expected = [cell.text for row in (*main.rows, *differences.rows) for cell in row.cells if cell]
    number = r"[+−]?\d+\.\d\d ± \d+\.\d\d \(\d\)"

    markdown = (tmp_path / "report" / "table.md").read_text()
    cells = [cell.strip(" *") for line in markdown.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if re.match(number, cell)] == expected

    parser = Cells()
    parser.feed((tmp_path / "report" / "index.html").read_text())
    assert [cell for cell in parser.found if re.match(number, cell)] == expected

    with (console := Console(width=100)).capture() as capture:
        for block in terminal.render(made.sections, 100):
            console.print(block)
    plain = [re.match(number, text).group() for text in expected]
    assert re.findall(number, capture.get()) == plain

    tex = (tmp_path / "report" / "table.tex").read_text().replace(r"$\pm$", "±").replace("$-$", "−")
    assert re.findall(number, tex) == plain


def test_tables_fit_a_narrow_terminal(store, runs):
    for dataset in ("cifar10", "cifar100", "shapes", "stl10"):
        for seed in range(2):
            store({"linear": 60.0 + seed, "knn": 50.0 + seed}, dataset=dataset, seed=seed)
    with (console := Console(width=80)).capture() as capture:
        for block in terminal.render(build_sections(collect(runs)), 80):
            console.print(block)
    assert "…" not in capture.get()
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d \(2\)", capture.get())) == 8
