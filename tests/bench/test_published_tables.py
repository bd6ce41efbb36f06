"""The protocols of a paper's tables plan what the tables hold: every cell, nothing else, and no run twice."""

from functools import cache
from pathlib import Path

import pytest

from methods.registry import METHODS
from protocols.spec.grid import Request, expand
from protocols.spec.labels import parse_label
from results.published import PUBLISHED, load

PREFIX = "relational2020-"
TABLES = sorted(path.stem for path in (PUBLISHED.parents[1] / "protocols" / "presets").glob(f"{PREFIX}*.toml"))


@cache
def planned(name):
    return tuple(expand(Request(protocol=PREFIX + name), Path("data")))


def folders(*names):
    return {run.folder() for name in names for run in planned(name)}


def cells(name):
    """What is measured, as the published numbers call it, with the seeds."""
    found = {}
    for run in planned(name):
        for part in run.evaluations:
            place = (run.method.label, run.dataset.name, run.backbone.name, part.dataset.name, part.label)
            found.setdefault(place, []).append(run.seed)
    return found


def published(table):
    rows = load()
    rows = rows[rows["source"].str.startswith("Patacchiola") & rows["table"].str.startswith(table)]
    rows = rows[rows["method"].map(lambda label: parse_label(label)[0] in METHODS.names())]
    return {tuple(row) for row in rows[["method", "dataset", "backbone", "evaluated_on", "evaluation"]].to_numpy()}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_table_is_planned_exactly(number):
    found = cells(f"table{number}")
    assert set(found) == published(f"Table {number}")
    assert set(map(tuple, found.values())) == {(1, 2, 3)}


def test_the_notebook_is_planned_exactly():
    assert set(cells("notebook")) == published("notebook")


def test_the_authors_comment_is_among_the_ablations():
    assert published("author's comment") <= set(cells("ablations"))


def test_the_points_of_figures_are_planned():
    assert published("Figure 2c") < set(cells("figure2c"))
    reproducible = {cell for cell in published("Figure 2b") if cell[0].startswith("relational")}
    assert len(reproducible) == 4
    assert reproducible < set(cells("figure2b"))


@pytest.mark.parametrize("name", TABLES)
def test_all_run_under_the_papers_protocol(name):
    runs = planned(name.removeprefix(PREFIX))
    label = "relational2020[epochs=10]" if name.endswith("notebook") else "relational2020"
    assert {(run.protocol, run.label, run.preset) for run in runs} == {("relational2020", label, name)}


def test_runs_are_shared_between_tables():
    assert folders("figure2a") < folders("table2")
    assert folders("table1") - folders("table2") == {
        run.folder() for run in planned("table1") if run.dataset.name == "stl10"
    }
    assert folders("figure2c") < folders("table2")
    plain = {run.folder() for run in planned("ablations") if "[" not in run.method.label}
    assert plain < folders("table2")
    assert len(folders("figure2b") & folders("table2")) == len(folders("figure2b") & folders("figure2b-views")) == 3
    together = ("table1", "table2", "figure2a", "figure2b", "figure2c")
    own = {"figure2b": 4 * 3, "table1": 3 * len({run.method.name for run in planned("table1")} - {"random"})}
    assert len(folders(*together)) == len(folders("table2")) + sum(own.values())


def test_views_are_matched_where_that_is_said():
    by_views = {run.method.options["views"]: run.pretrain.epochs for run in planned("figure2b-views")}
    assert {views: views * epochs * 50_000 for views, epochs in by_views.items()} == dict.fromkeys(
        (2, 4, 8, 16, 32), 2e7
    )
    assert {run.pretrain.epochs for run in planned("figure2b")} == {200}
    assert {run.method.options["views"] for run in planned("figure2b")} == set(by_views)


def test_fractions_of_the_labels():
    found = {part.label: part.options["fraction"] for part in planned("figure2c")[0].evaluations}
    shares = {"": 1.0, "-1": 0.01, "-10": 0.1, "-25": 0.25, "-50": 0.5}
    assert found == {name + end: share for name in ("linear", "finetune") for end, share in shares.items()}


def test_the_papers_numbers_of_views():
    views = {
        (run.dataset.name, run.backbone.name): run.method.options["views"]
        for name in ("table1", "table2", "table3")
        for run in planned(name)
        if run.method.name == "relational"
    }
    assert views.pop(("tiny_imagenet", "resnet32")) == 16
    assert views.pop(("stl10", "resnet34")) == 25
    assert set(views.values()) == {32}
