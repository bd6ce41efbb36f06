"""The tables of refinements: what stands in them, and what does not stand elsewhere."""

import io
import math

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from scipy import stats

from results import refinement, report
from results.store import RECORD, read_json, write_json

BARE = {"simclr": (60.0, 62.0, 61.0), "byol": (64.0, 66.0, 65.0)}
GRAPH = {"simclr": (61.0, 63.5, 62.0), "byol": (64.5, 65.5, 65.5)}


@pytest.fixture
def refined(store, runs):
    """Two methods on three seeds: as they are, after a graph, and leaking."""
    for method in BARE:
        for seed in range(3):
            values = {"linear": BARE[method][seed], "linear>transductive": 99.0, "linear>graph": GRAPH[method][seed]}
            store(values, method=method, seed=seed)
    return runs


def table_of(runs) -> refinement.RefinementTable:
    (table,) = report.collect(runs).refinements
    return table


def test_every_method_as_it_is_and_refined_with_paired_differences(refined):
    table = table_of(refined)
    assert table.header == ("method", "as it is", "graph", "transductive †")
    assert [line[0] for line in table.lines] == ["byol", "simclr"]
    differences = [b - a for a, b in zip(BARE["simclr"], GRAPH["simclr"], strict=True)]
    half = stats.t.ppf(0.975, 2) * stats.tstd(differences) / math.sqrt(3)
    simclr = dict(zip(table.header, table.lines[1], strict=True))
    mean = sum(GRAPH["simclr"]) / 3
    assert simclr["graph"] == f"{mean:.2f} (+{sum(differences) / 3:.2f} ± {half:.2f})"
    byol = dict(zip(table.header, table.lines[0], strict=True))
    assert byol["graph"] == "65.17 (+0.17 ± 1.43 ≈)"
    assert byol["as it is"] == "65.00 ± 2.48 (3)"


def test_refinements_are_compared_with_each_other_over_methods(refined, store):
    """Methods are averaged seed by seed, so that the interval is over seeds; anchors take no part."""
    for seed in range(3):
        store({"linear": 10.0, "linear>graph": 90.0, "linear>transductive": 0.0}, method="random", seed=seed)
    header, graph, leaking = table_of(refined).between
    assert header == ("minus", "as it is", "graph")
    by_seed = [sum(GRAPH[m][s] - BARE[m][s] for m in BARE) / 2 for s in range(3)]
    half = stats.t.ppf(0.975, 2) * stats.tstd(by_seed) / math.sqrt(3)
    assert graph == ("graph", f"+{sum(by_seed) / 3:.2f} ± {half:.2f}", "")
    by_seed = [sum(99.0 - GRAPH[m][s] for m in BARE) / 2 for s in range(3)]
    half = stats.t.ppf(0.975, 2) * stats.tstd(by_seed) / math.sqrt(3)
    assert leaking[2] == f"+{sum(by_seed) / 3:.2f} ± {half:.2f}"


def test_a_seed_that_some_methods_lack_is_left_out_of_means_over_methods(refined, store):
    before = table_of(refined).between
    store({"linear": 10.0, "linear>graph": 90.0, "linear>transductive": 0.0}, method="byol", seed=3)
    assert table_of(refined).between == before


def test_methods_that_offer_nothing_take_no_part_in_means(store, runs):
    store({"linear": 60.0, "linear>concatenated": 61.0}, method="dino")
    store({"linear": 50.0}, method="simclr")
    assert table_of(runs).between == (("minus", "as it is"), ("concatenated", "+1.00 ≈"))


def test_headlines_know_nothing_of_refinements(refined):
    made = report.collect(refined)
    cells = [row.cells for table in made.tables for row in table.rows]
    assert max(cell.mean for row in cells for cell in row if cell) == pytest.approx(65.0)
    assert (made.frames.results["refinement"] == "").all()
    assert set(made.frames.refined["refinement"]) == {"graph", "transductive"}


def test_only_shared_seeds_are_compared(store, runs):
    store({"linear": 60.0, "linear>graph": 61.0}, seed=0)
    store({"linear": 70.0}, seed=1)
    store({"linear>graph": 90.0}, seed=2)
    (line,) = table_of(runs).lines
    assert line == ("simclr", "65.00 ± 63.53 (2)", "75.50 (+1.00 ≈)")


def test_what_a_method_does_not_offer_is_left_open(store, runs):
    store({"linear": 60.0, "linear>concatenated": 61.0}, method="dino")
    store({"linear": 50.0}, method="simclr")
    assert table_of(runs).lines[1] == ("simclr", "50.00 (1)", "–")


def test_without_refinements_there_is_no_table(store, runs, tmp_path):
    store({"linear": 60.0})
    made = report.write(runs, tmp_path / "report")
    assert made.refinements == ()
    assert refinement.TITLE not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_every_rendering_has_it_and_marks_the_leak(refined, tmp_path):
    made = report.write(refined, tmp_path / "report")
    line = "| byol | 65.00 ± 2.48 (3) | 65.17 (+0.17 ± 1.43 ≈) | 99.00 (+34.00 ± 2.48) |"
    assert line in (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    out = io.StringIO()
    console = Console(file=out, width=100)
    for block in report.terminal(made, 100):
        console.print(block)
    for text in (page, out.getvalue()):
        assert "65.17 (+0.17 ± 1.43 ≈)" in text
        assert "transductive †" in text
        assert "test images took part" in text
        assert refinement.BETWEEN in text
    tex = (tmp_path / "report" / "table.tex").read_text(encoding="utf-8")
    assert "byol & 65.00 $\\pm$ 2.48 (3) & 65.17 (+0.17 $\\pm$ 1.43 $\\approx$) &" in tex
    assert "minus & as it is & graph" in tex
    rows = pd.read_csv(tmp_path / "report" / "results.csv", keep_default_na=False)
    assert set(rows["refinement"]) == {"", "graph", "transductive"}


def test_the_page_shows_the_pictures_of_one_run(refined, tmp_path):
    folder = next(refined.glob("*byol-s0*"))
    files = ["evaluations/graph-map.png", "evaluations/graph-neighbours.png", "evaluations/leak-map.png"]
    (folder / "evaluations").mkdir()
    for file in files:
        Image.new("RGB", (4, 4)).save(folder / file)
    record = read_json(folder / RECORD)
    labels = ["graph", "graph", "transductive"]
    record["pictures"] = [
        {"label": label, "dataset": "shapes", "file": file} for label, file in zip(labels, files, strict=True)
    ]
    write_json(folder / RECORD, record)
    assert [path.name for _, path in table_of(refined).pictures] == ["graph-map.png", "graph-neighbours.png"]
    report.write(refined, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2


def test_old_records_without_refinements_are_read_and_averaged_with_new_ones(store, runs):
    old = store({"linear": 60.0}, seed=0)
    store({"linear": 62.0}, seed=1)
    record = read_json(old / RECORD)
    for metric in record["metrics"]:
        del metric["refinement"], metric["transductive"]
    write_json(old / RECORD, record)
    new = read_json(runs / next(p.name for p in runs.glob("*s1*")) / RECORD)
    for part in new["run"]["evaluations"]:
        part["refinement"] = None
    write_json(runs / next(p.name for p in runs.glob("*s1*")) / RECORD, new)
    (table,) = report.collect(runs).tables
    (cell,) = table.rows[0].cells
    assert (cell.mean, cell.n) == (61.0, 2)
