"""The main tables, and that every format shows the same numbers."""

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console
from scipy import stats

from results import report
from results.report import terminal
from results.report.data import collect
from results.report.sections import build_sections
from results.report.sections.methods import BEST, NO_DIFFERENCE
from tests.tools.records import ACCURACIES


@pytest.fixture
def grid(store):
    for method, values in ACCURACIES.items():
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


def test_rows_are_in_the_order_of_the_first_column(store, runs):
    """What it does not have follows."""
    store({"knn": 99.0}, method="vicreg")
    store({"linear": 50.0, "knn": 90.0}, method="byol")
    store({"linear": 60.0, "knn": 40.0}, method="simclr")
    table = main_table(runs)
    assert [column.name for column in table.columns] == ["linear", "knn"]
    assert [row.header[0] for row in table.rows] == ["simclr", "byol", "vicreg"]


def test_cells_by_hand(grid, runs):
    table = main_table(runs)
    found = texts(table)
    # Half-widths: t(0.975, 2) / sqrt(3) = 2.484138 times the standard deviations 1, 0.1 and 0.5.
    assert found["simclr"] == ["61.00 ± 2.48 (3)", "56.00 ± 2.48 (3)"]
    assert found["byol"] == ["60.50 ± 2.48 (3)", "55.50 ± 2.48 (3)"]
    assert found["barlow"] == ["40.10 ± 0.25 (3)", "35.10 ± 0.25 (3)"]
    assert found["random"] == ["30.50 ± 1.24 (3)", "25.50 ± 1.24 (3)"]
    bold = [[cell.is_best for cell in row.cells] for row in table.rows]
    assert bold == [[False] * 2, [True] * 2, [True] * 2, [False] * 2, [False] * 2]
    assert BEST in table.notes


def test_differences_are_paired_and_leave_baselines_out(grid, runs):
    (section,) = sections(runs)
    # Half-widths: the range of 3 groups with 3 degrees of freedom, times the larger standard deviation / sqrt(6). Of
    # the differences to byol it is 0; around the means 0.54 = 2 · (0.3² + 0.3² + 0.6²) / 4 · 2 is twice the residual
    # variance, and 0.81 that of the differences to barlow.
    quantile = stats.studentized_range.ppf(0.95, 3, 3)
    assert {name: cells[0] for name, cells in texts(section.tables[1]).items()} == {
        "byol": f"−0.50 ± {quantile * (0.54 / 6) ** 0.5:.2f} (3) ≈",
        "barlow": f"−20.90 ± {quantile * (0.81 / 6) ** 0.5:.2f} (3)",
    }
    assert NO_DIFFERENCE in section.tables[1].notes


def test_summary_and_differences_as_files_have_the_marks_of_the_tables(grid, runs):
    data = collect(runs)
    best = data.summary[data.summary["best"]]
    assert set(zip(best["method"], best["evaluation"], strict=True)) == {
        (method, evaluation) for method in ("simclr", "byol") for evaluation in ("linear", "knn")
    }
    (table,) = data.tables
    shown = {row.method: row.cells[0] for row in table.differences}
    for row in data.differences[data.differences["evaluation"] == "linear"].to_dict("records"):
        cell = shown[row["method"]]
        assert cell.tied == (row["low"] <= 0 <= row["high"])
        assert cell.half == pytest.approx((row["high"] - row["low"]) / 2)


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
    assert not any(cell.is_best for row in section.tables[0].rows for cell in row.cells)
    assert not [table for table in section.tables if table.name.endswith("-differences")]


def sentence(runs):
    """What is said below the table of its seeds."""
    (table,) = (section.tables[0] for section in sections(runs))
    (found,) = (note for note in table.notes if "run after run" in note)
    return found


def test_what_the_seeds_can_tell(store, runs):
    values = {"simclr": [60.0, 61.0, 63.0], "byol": [55.0, 57.0, 55.5], "barlow": [50.0, 49.0, 52.0]}
    for method, of_method in values.items():
        for seed, value in enumerate(of_method):
            store({"linear": value}, method=method, seed=seed, seconds=1197)  # and 3 of its evaluations
    found = re.fullmatch(
        r"Differences under about (\S+) points are noise here; (\d+) seeds would show (\S+) "
        r"and take (\S+) h more, run after run\.",
        sentence(runs),
    )
    now, seeds, then, hours = map(float, found.groups())
    (cells,) = ([cell.half for row in table.differences for cell in row.cells] for table in collect(runs).tables)
    assert min(cells) <= now + 0.05
    assert now - 0.05 <= max(cells)
    assert then <= now / 2 + 0.05
    assert seeds > 3
    assert hours == pytest.approx((seeds - 3) * 3 * 1200 / 3600, abs=0.05)


def test_columns_that_can_tell_more_are_told_from_those_that_can_tell_less(store, runs):
    noise = [(0.0, 1.0, 3.0), (2.0, 0.0, 1.0), (1.0, 3.0, 0.0)]
    for method, of_method in zip(("simclr", "byol", "barlow"), noise, strict=True):
        for seed, value in enumerate(of_method):
            store({"linear": 60 + value, "knn": 50 + 2 * value}, method=method, seed=seed)
    low, high = re.search(r"under about (\S+) to (\S+) points", sentence(runs)).groups()
    assert float(high) == pytest.approx(2 * float(low), abs=0.1)


def test_one_seed_can_tell_nothing(store, runs):
    for method in ("simclr", "byol"):
        store({"linear": 60.0}, method=method, seconds=597)
    assert sentence(runs) == (
        "Nothing here can be told from noise: that takes two seeds at least. 3 seeds of everything take 40.0 min more, "
        "run after run."
    )


def test_one_method_is_known_as_well_as_its_seeds_allow(store, runs):
    for seed, value in enumerate([60.0, 61.0, 62.0]):
        store({"linear": value}, seed=seed, seconds=597)
    # t(0.975, 6) / sqrt(7) = 0.925, t(0.975, 5) / sqrt(6) = 1.049, and half of 2.484 is 1.242: t(0.975, 4) / sqrt(5).
    assert sentence(runs) == (
        "The mean of the one method is known to ± 2.5 points; 5 seeds would give ± 1.2 and take 20.0 min more, run "
        "after run."
    )


def test_baselines_alone_need_no_sentence(store, runs):
    store({"linear": 60.0}, method="random")
    assert not any("seed" in text for text in build_sections(collect(runs))[0].lead)


def notes_about(runs, word):
    return [note for note in main_table(runs).notes if word in note]


def test_a_shared_learning_rate_is_said_where_methods_are_ranked(store, runs):
    for method in ("simclr", "random"):
        store({"linear": 60.0}, method=method)
    assert notes_about(runs, "Learning rate") == []
    store({"linear": 60.0}, method="byol")
    suits = "The order may be another where each has the rate that suits it."
    assert notes_about(runs, "Learning rate") == [f"Learning rate 0.001 for all trained methods. {suits}"]


def test_unequal_compute_is_said(store, runs):
    """Records of tests have 3 million FLOPs a view."""
    store({"linear": 60.0}, method="simclr", views=150_000)
    store({"linear": 61.0}, method="byol", views=160_000)
    assert not [note for note in main_table(runs).notes if "compute" in note]
    store({"linear": 62.0}, method="dino", views=450_000)
    store({"linear": 62.0}, method="supervised", views=4_500_000)
    (note,) = [note for note in main_table(runs).notes if "compute" in note]
    assert note == (
        "Not equal compute: the FLOPs of pretraining differ by a factor of up to 3 "
        "(shapes: dino 1.35 T, simclr 450 G). With --flops they are the same."
    )


def test_other_learning_rates_are_named(store, runs):
    for method, rate in {"simclr": 1e-3, "byol": 1e-3, "supervised": 1e-3, "dino": 5e-4, "adasim": 5e-4}.items():
        store({"linear": 60.0}, method=method, lr=rate)
    (note,) = notes_about(runs, "Learning rate")
    assert note.startswith("Learning rate 0.001 for all trained methods but: adasim, dino 0.0005. ")


def test_recipes_have_rates_of_their_own(store, runs):
    for method in ("simclr", "byol"):
        store({"linear": 60.0}, method=method, protocol="relational2020", fairness="recipe")
    assert notes_about(runs, "Learning rate") == []


def test_one_pretraining_under_two_names_is_said_and_counts_once(store, runs, no_figures):
    values = {"adasim": [60.0, 61.0, 63.0], "graph_nnclr": [60.0, 61.0, 63.0], "byol": [62.0, 60.5, 61.0]}
    for method, of_method in values.items():
        for seed, value in enumerate(of_method):
            loss = 1.0 + seed + 0.5 * (method == "byol")
            store({"linear": value, "linear>graph": value + (method == "byol")}, method=method, seed=seed, loss=loss)
    (note,) = notes_about(runs, "one pretraining")
    assert note.startswith("adasim and graph_nnclr are one pretraining")
    pairs = next(iter(collect(runs).comparisons.values()))
    assert pairs.groups == 2
    (section,) = (section for section in build_sections(collect(runs)) if section.name == "refinement")
    assert note in section.notes
    # Graph adds 0 to the one pretraining and 1 to byol.
    (cell,) = section.tables[1].rows[0].cells
    assert cell.text.startswith("+0.50")


def test_equal_accuracies_alone_are_no_shared_pretraining(store, runs):
    for method, loss in (("adasim", 1.0), ("byol", 1.5)):
        for seed in range(3):
            store({"linear": 60.0 + seed}, method=method, seed=seed, loss=loss)
    assert notes_about(runs, "one pretraining") == []


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
    assert texts(table) == {"simclr": ["70.00 (1)", "61.00 ± 2.48 (3)"], "byol": [None, "50.00 (1/3) †"]}
    assert any(note.startswith("(2/3)") for note in table.notes)
    assert any(note.startswith("†") for note in table.notes)
    assert section.problems == (
        "byol on shapes, seed 0: collapsed: std 0.01",
        "byol on shapes, seed 1: failed: the loss became nan in epoch 2",
        "byol on digits, seed 0: missing: no run was started",
        "byol on shapes, seed 2: missing: no run was started",
    )


def cost_cells(runs):
    (section,) = sections(runs)
    (table,) = (table for table in section.tables if table.name.endswith("-cost"))
    return [
        dict(zip([*table.names, *(column.name for column in table.columns)], [*row.header, *cells], strict=True))
        for row in table.rows
        for cells in [[cell.text for cell in row.cells]]
    ]


def test_gpu_hours_and_energy_stand_where_a_gpu_was_used(store, runs):
    """A run on a CPU has a dash, and a table of CPUs no such columns."""
    store({"linear": 60.0}, method="simclr", seed=0)
    assert not {"GPU-hours", "energy"} & cost_cells(runs)[0].keys()
    store({"linear": 60.0}, method="byol", seed=0, gpu_seconds=5400.0, energy=1.8e6)
    cells = {row["method"]: (row["GPU-hours"], row["energy"]) for row in cost_cells(runs)}
    assert cells == {"byol": ("1.5", "500 Wh"), "simclr": ("–", "–")}


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


def test_every_format_shows_the_same_numbers(grid, runs, tmp_path, no_figures):
    made = report.write(runs, tmp_path / "report")
    main, differences = next(section.tables for section in made.sections if section.tables)[:2]
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

    tex = re.sub(r"\{(\\boldmath )?~", "", (tmp_path / "report" / "table.tex").read_text().replace(r"$\pm$", "±"))
    assert re.findall(number, tex.replace("& -", "& −")) == plain


def test_tables_fit_a_narrow_terminal(store, runs):
    for dataset in ("cifar10", "cifar100", "shapes", "stl10"):
        for seed in range(2):
            store({"linear": 60.0 + seed, "knn": 50.0 + seed}, dataset=dataset, seed=seed)
    with (console := Console(width=80)).capture() as capture:
        for block in terminal.render(build_sections(collect(runs)), 80):
            console.print(block)
    assert "…" not in capture.get()
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d \(2\)", capture.get())) == 8
