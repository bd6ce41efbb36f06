"""The table model, and that every rendering shows the same numbers."""

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from results import latex, report
from results.tables import unique_name

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


def tables(runs):
    return report.collect(runs).tables


def texts(table):
    return {row.method: [cell and cell.text for cell in row.cells] for row in table.rows}


def test_anchors_frame_the_methods_which_are_ordered_by_mean(grid, runs):
    (table,) = tables(runs)
    assert [row.method for row in table.rows] == ["supervised", "simclr", "byol", "barlow", "random"]
    assert [row.anchor for row in table.rows] == ["supervised", "", "", "", "random"]
    assert [(column.data, column.measure) for column in table.columns] == [("shapes", "linear"), ("shapes", "knn")]


def test_cells_by_hand(grid, runs):
    (table,) = tables(runs)
    found = texts(table)
    # Half-widths: t(0.975, 2) / sqrt(3) = 2.484138 times the standard deviations 1, 0.1 and 0.5.
    assert found["simclr"] == ["61.00 ± 2.48 (3)", "56.00 ± 2.48 (3)"]
    assert found["byol"] == ["60.50 ± 2.48 (3) ≈", "55.50 ± 2.48 (3) ≈"]
    assert found["barlow"] == ["40.10 ± 0.25 (3)", "35.10 ± 0.25 (3)"]
    assert found["random"] == ["30.50 ± 1.24 (3)", "25.50 ± 1.24 (3)"]
    assert [[cell.best for cell in row.cells] for row in table.rows] == [[False] * 2, [True] * 2, *[[False] * 2] * 3]


def test_differences_are_paired_and_leave_anchors_out(grid, runs):
    (table,) = tables(runs)
    assert {row.method: row.cells[0].text for row in table.paired} == {
        "byol": "−0.50 ± 0.00 (3)",
        "barlow": "−20.90 ± 2.24 (3)",
    }


def test_caption_says_what_the_numbers_were_made_under(grid, runs):
    (table,) = tables(runs)
    for words in ("95 % Student-t", "quick version 1", "controlled", "conv4", "160,000 views", "seeds 0–2"):
        assert words in table.caption


def test_protocols_backbones_and_versions_are_never_mixed(store, runs):
    store({"linear": 60.0}, seed=0)
    store({"linear": 61.0}, seed=0, label="quick[lr=0.1]")
    store({"linear": 62.0}, seed=0, backbone="resnet8")
    store({"linear": 63.0}, seed=0, protocol="relational2020", track="recipe")
    found = tables(runs)
    assert sorted(table.title for table in found) == [
        *["quick · conv4", "quick · resnet8", "quick[lr=0.1] · conv4", "relational2020 · conv4"]
    ]
    assert all(len(table.rows) == 1 and table.rows[0].cells[0].n == 1 for table in found)
    assert len({table.name for table in found}) == 4


def test_one_seed_has_no_interval_and_a_note(store, runs):
    store({"linear": 60.0})
    (table,) = tables(runs)
    assert texts(table) == {"simclr": ["60.00 (1)"]}
    assert any("one seed" in note for note in table.notes)
    assert table.paired == ()


def test_missing_anchors_are_named(store, runs):
    store({"linear": 60.0}, method="simclr")
    store({"linear": 30.0}, method="random")
    (table,) = tables(runs)
    assert any("supervised anchor has not been measured" in note for note in table.notes)
    assert not any("random anchor" in note for note in table.notes)


def test_partial_missing_and_collapsed_cells(store, runs):
    for seed in range(3):
        store({"linear": 60.0 + seed}, method="simclr", seed=seed)
    store({"linear": 50.0}, method="byol", seed=0, warning="std 0.01")
    store(method="byol", seed=1, failure={"reason": "the loss became nan in epoch 2"})
    store({"linear": 70.0}, method="simclr", dataset="digits")
    (table,) = tables(runs)
    assert texts(table) == {"simclr": ["70.00 (1)", "61.00 ± 2.48 (3)"], "byol": [None, "50.00 (1/3) ≈†"]}
    assert any(note.startswith("(2/3)") for note in table.notes)
    assert any(note.startswith("†") for note in table.notes)
    assert table.problems == (
        "byol on shapes, seed 0: collapsed: std 0.01",
        "byol on shapes, seed 1: failed: the loss became nan in epoch 2",
        "byol on digits, seed 0: missing: no run was started",
        "byol on shapes, seed 2: missing: no run was started",
    )


def test_only_failures_still_make_a_table(store, runs):
    for seed in range(4):
        store(seed=seed, failure={"reason": "out of memory"})
    (table,) = tables(runs)
    assert table.rows == ()
    assert table.problems == ("simclr on shapes, seeds 0–3: failed: out of memory",)


def test_evaluated_elsewhere_and_other_metrics_are_columns_of_their_own(store, runs):
    store({"linear": 60.0, "linear/top5": 90.0}, dataset="cifar10", seed=0)
    store({"linear": 30.0}, dataset="cifar10", seed=0, evaluated_on="cifar100", epochs=3, label="quick")
    (table,) = tables(runs)
    assert [f"{column.data} {column.measure}" for column in table.columns] == [
        *["cifar10 linear", "cifar10 linear top5", "cifar10 → cifar100 linear"]
    ]


def test_names_are_safe_and_unique():
    name = unique_name("relational2020[lr=0.1, flip=0]-timm:resnet18@small", [])
    assert re.fullmatch(r"[\w.@+=,-]+", name)
    assert unique_name("a b", ["a_b"]) == "a_b~2"


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


def test_every_rendering_shows_the_same_numbers(grid, runs, tmp_path):
    made = report.write(runs, tmp_path / "report")
    (table,) = made.tables
    expected = [cell.text for row in (*table.rows, *table.paired) for cell in row.cells if cell]
    number = r"[+−]?\d+\.\d\d ± \d+\.\d\d \(\d\)"

    markdown = (tmp_path / "report" / "table.md").read_text()
    cells = [cell.strip(" *") for line in markdown.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if re.match(number, cell)] == expected

    parser = Cells()
    parser.feed((tmp_path / "report" / "index.html").read_text())
    assert [cell for cell in parser.found if re.match(number, cell)] == expected

    with (console := Console(width=100)).capture() as capture:
        for block in report.terminal(made, 100):
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
        for block in report.terminal(report.collect(runs), 80):
            console.print(block)
    assert "…" not in capture.get()
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d \(2\)", capture.get())) == 8


def test_latex_escapes_what_it_must():
    assert latex.escape("a_b & 50% {x} [y] ~^\\ é ± 字") == (
        r"a\_b \& 50\% \{x\} {[}y{]} \textasciitilde{}\textasciicircum{}\textbackslash{} e $\pm$ ?"
    )
