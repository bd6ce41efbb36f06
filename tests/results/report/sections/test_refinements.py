"""The tables of refinements: what is in them, and what is not in the others."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from scipy import stats

from results import report
from results.report import latex, terminal
from results.report.data import collect
from results.report.sections import build_sections
from results.report.sections.refinements import DIFFERENCES, NOTES
from results.store import RECORD, read_json, write_json
from tests.tools.damages import a_flipped_bit, a_pipe, empty, huge

BARE = {"simclr": (60.0, 62.0, 61.0), "byol": (64.0, 66.0, 65.0)}
GRAPH = {"simclr": (61.0, 63.5, 62.0), "byol": (64.5, 65.5, 65.5)}


@pytest.fixture
def refined(store, runs):
    """Two methods on three seeds: unrefined, averaged, and transductive."""
    for method in BARE:
        for seed in range(3):
            values = {"linear": BARE[method][seed], "linear>transductive": 99.0, "linear>averaged": GRAPH[method][seed]}
            store(values, method=method, seed=seed)
    return runs


def refinement_tables(runs):
    """The tables of the one evaluation: accuracies, and differences if there are any."""
    (section,) = (section for section in build_sections(collect(runs)) if section.name == "refinement")
    return section.tables


def half_of(values, first, second):
    """Half the width of the interval of a difference, of refinements by seed, as documented."""
    y = np.array(values).T
    n, m = y.shape
    around = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    variance = max(np.var(y[:, first] - y[:, second], ddof=1), 2 * (around**2).sum() / ((m - 1) * (n - 1)))
    return stats.studentized_range.ppf(0.95, m, (n - 1) * min(m, 4) / 2) * math.sqrt(variance / (2 * n))


def header_of(table):
    return (*table.names, *(column.name for column in table.columns))


def lines_of(table):
    return [(*row.header, *("–" if cell is None else cell.text for cell in row.cells)) for row in table.rows]


def test_every_method_without_and_with_refinements(refined):
    table = refinement_tables(refined)[0]
    assert header_of(table) == ("method", "unrefined", "neighbour_mean", "transductive †")
    byol, simclr = (dict(zip(header_of(table), line, strict=True)) for line in lines_of(table))
    differences = [b - a for a, b in zip(BARE["simclr"], GRAPH["simclr"], strict=True)]
    mean, half = sum(GRAPH["simclr"]) / 3, half_of([BARE["simclr"], GRAPH["simclr"], (99.0, 99.0, 99.0)], 0, 1)
    assert (byol["method"], simclr["method"]) == ("byol", "simclr")
    assert simclr["neighbour_mean"] == f"{mean:.2f} (+{sum(differences) / 3:.2f} ± {half:.2f} ≈)"
    half = half_of([BARE["byol"], GRAPH["byol"], (99.0, 99.0, 99.0)], 0, 2)
    assert byol["transductive †"] == f"99.00 (+34.00 ± {half:.2f})"
    assert byol["unrefined"] == "65.00 ± 2.48 (3)"


def test_refinements_are_compared_with_each_other_over_methods(refined, store):
    """Methods are averaged seed by seed, so that the interval is over seeds; baselines take no part."""
    for seed in range(3):
        store({"linear": 10.0, "linear>averaged": 90.0, "linear>transductive": 0.0}, method="random", seed=seed)
    table = refinement_tables(refined)[1]
    averaged, leaking = lines_of(table)
    assert header_of(table) == ("minus", "unrefined", "neighbour_mean")
    means = [[sum(values[m][s] for m in BARE) / 2 for s in range(3)] for values in (BARE, GRAPH)]
    means.append([99.0] * 3)
    difference = np.mean(means[1]) - np.mean(means[0])
    assert averaged == ("neighbour_mean", f"+{difference:.2f} ± {half_of(means, 0, 1):.2f} ≈", "")
    assert leaking[2] == f"+{99.0 - np.mean(means[1]):.2f} ± {half_of(means, 1, 2):.2f}"


def test_a_seed_that_some_methods_lack_is_left_out_of_means_over_methods(refined, store):
    before = lines_of(refinement_tables(refined)[1])
    store({"linear": 10.0, "linear>averaged": 90.0, "linear>transductive": 0.0}, method="byol", seed=3)
    assert lines_of(refinement_tables(refined)[1]) == before


def test_methods_without_a_refinement_take_no_part_in_means(store, runs):
    store({"linear": 60.0, "linear>concatenated": 61.0}, method="dino")
    store({"linear": 50.0}, method="simclr")
    table = refinement_tables(runs)[1]
    assert (header_of(table), lines_of(table)) == (("minus", "unrefined"), [("concatenated", "+1.00 ≈")])


def test_the_main_tables_hold_nothing_refined(refined):
    data = collect(refined)
    cells = [row.cells for table in data.tables for row in table.rows]
    assert max(cell.mean for row in cells for cell in row if cell) == pytest.approx(65.0)
    assert max(data.differences["mean"]) < 0
    assert set(data.frames.refined["refinement"]) == {"averaged", "transductive"}


def test_only_shared_seeds_are_compared(store, runs):
    store({"linear": 60.0, "linear>graph": 61.0}, seed=0)
    store({"linear": 70.0}, seed=1)
    store({"linear>graph": 90.0}, seed=2)
    (line,) = lines_of(refinement_tables(runs)[0])
    assert line == ("simclr", "65.00 ± 63.53 (2)", "75.50 (+1.00 ≈)")


def test_what_a_method_does_not_support_is_left_open(store, runs):
    store({"linear": 60.0, "linear>concatenated": 61.0}, method="dino")
    store({"linear": 50.0}, method="simclr")
    assert lines_of(refinement_tables(runs)[0])[1] == ("simclr", "50.00 (1)", "–")


def test_without_refinements_there_is_no_section(store, runs, tmp_path):
    store({"linear": 60.0})
    made = report.write(runs, tmp_path / "report")
    assert "refinement" not in {section.name for section in made.sections}
    assert "After refinement" not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_every_format_has_it_and_marks_the_leak(refined, tmp_path, no_figures):
    made = report.write(refined, tmp_path / "report")
    values = [BARE["byol"], GRAPH["byol"], (99.0, 99.0, 99.0)]
    averaged, leaking = half_of(values, 0, 1), half_of(values, 0, 2)
    averaged = f"65.17 (+0.17 ± {averaged:.2f} ≈)"
    line = f"| byol | 65.00 ± 2.48 (3) | {averaged} | 99.00 (+34.00 ± {leaking:.2f}) |"
    assert line in (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    console = Console(file=io.StringIO(), width=100)
    for block in terminal.render(made.sections, 100):
        console.print(block)
    for text in (page, console.file.getvalue()):
        assert averaged in text
        assert "transductive †" in text
        assert any(note[:40] in text for note in NOTES if note.startswith("†"))
        assert DIFFERENCES in text
    tex = (tmp_path / "report" / "table.tex").read_text(encoding="utf-8")
    assert f"byol & 65.00 {{~$\\pm$ 2.48 (3)}} & 65.17 {{~{latex.escape(averaged[6:])}}} &" in tex
    assert "minus & {unrefined} & {neighbour\\_mean" in tex


def test_files_hold_refined_results_under_their_stored_names(refined, tmp_path, no_figures):
    report.write(refined, tmp_path / "report")
    rows, summary = (
        pd.read_csv(tmp_path / "report" / name, keep_default_na=False) for name in ("results.csv", "summary.csv")
    )
    assert set(rows["refinement"]) == set(summary["refinement"]) == {"", "averaged", "transductive"}
    cell = summary[(summary["method"] == "simclr") & (summary["refinement"] == "averaged")].iloc[0]
    assert (cell["mean"], cell["n"]) == (pytest.approx(sum(GRAPH["simclr"]) / 3), 3)
    assert len(summary) == 6


def test_the_page_shows_the_pictures_of_one_run(refined, tmp_path, no_figures):
    folder = next(refined.glob("*byol-s0*"))
    files = ["evaluations/graph-map.png", "evaluations/graph-neighbours.png", "evaluations/leak-map.png"]
    (folder / "evaluations").mkdir()
    for file in files:
        Image.new("RGB", (4, 4)).save(folder / file)
    record = read_json(folder / RECORD)
    labels = ["averaged", "averaged", "transductive"]
    record["pictures"] = [
        {"label": label, "dataset": "shapes", "file": file} for label, file in zip(labels, files, strict=True)
    ]
    write_json(folder / RECORD, record)
    figures = refinement_tables(refined)[0].figures
    assert [figure.path.name for figure in figures] == ["graph-map.png", "graph-neighbours.png"]
    report.write(refined, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.parametrize(
    ("damage", "why"),
    [(a_flipped_bit, "it is damaged"), (empty, "it is damaged"), (huge, "File too large"), (a_pipe, "it is a pipe")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_picture_is_named_and_the_others_are_shown(refined, damage, why):
    folder = next(refined.glob("*byol-s0*"))
    (folder / "evaluations").mkdir()
    files = ["evaluations/graph-map.png", "evaluations/graph-neighbours.png"]
    for file in files:
        Image.new("RGB", (4, 4)).save(folder / file)
    record = read_json(folder / RECORD)
    record["pictures"] = [{"label": "averaged", "dataset": "shapes", "file": file} for file in files]
    write_json(folder / RECORD, record)
    damage(folder / files[0])
    (section,) = (section for section in build_sections(collect(refined)) if section.name == "refinement")
    assert [figure.path.name for figure in section.tables[0].figures] == ["graph-neighbours.png"]
    (problem,) = section.problems
    assert problem.startswith(f"{folder.name}/{files[0]} is not shown: {why}")


def test_no_picture_from_outside_of_the_folder_is_shown(refined, tmp_path):
    folder = next(refined.glob("*byol-s0*"))
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    (folder / "evaluations").mkdir()
    (folder / "evaluations" / "link-map.png").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "evaluations" / "own-map.png").write_bytes(secret.read_bytes())
    record = read_json(folder / RECORD)
    files = ["evaluations/link-map.png", "linked/secret.png", "evaluations/own-map.png"]
    record["pictures"] = [{"label": "averaged", "dataset": "shapes", "file": file} for file in files]
    write_json(folder / RECORD, record)
    assert [figure.path.name for figure in refinement_tables(refined)[0].figures] == ["own-map.png"]
    record["pictures"] = [{"label": "averaged", "dataset": "shapes", "file": "/etc/passwd"}]
    write_json(folder / RECORD, record)
    assert collect(refined).frames.problems["reason"].str.contains("no PNG file within the run's folder").sum() == 1


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
    (table,) = collect(runs).tables
    (cell,) = table.rows[0].cells
    assert (cell.mean, cell.n) == (61.0, 2)
