"""What labels say of options in which methods differ."""

from results.analysis.frame import load_runs
from results.analysis.labels import name_defaults
from results.figures.draw import figure_data
from results.report.data import collect

OPTIONS = {"temperature": 0.5, "hidden": 512}


def store_two(store, **changes):
    store({"linear": 60.0}, method="simclr", options=OPTIONS, **changes)
    other = {**OPTIONS, "temperature": 0.1}
    store({"linear": 61.0}, method="simclr", method_label="simclr[temperature=0.1]", options=other, **changes)


def test_the_default_is_named_beside_a_sibling(store, runs):
    store_two(store)
    store({"linear": 50.0}, method="byol", options={"momentum": 0.99})
    frames = name_defaults(load_runs(runs))
    assert set(frames.results["method"]) == {"simclr[temperature=0.5]", "simclr[temperature=0.1]", "byol"}
    assert set(frames.runs["method"]) == set(frames.results["method"]) == set(frames.results["pretraining"])
    assert frames.stored_labels == {"simclr[temperature=0.5]": "simclr"}


def test_every_label_has_all_options_that_vary(store, runs):
    store_two(store)
    store({"linear": 62.0}, method="simclr", method_label="simclr[batch=64]", options=OPTIONS)
    assert set(name_defaults(load_runs(runs)).runs["method"]) == {
        "simclr[batch=128,temperature=0.5]",
        "simclr[batch=128,temperature=0.1]",
        "simclr[batch=64,temperature=0.5]",
    }


def test_other_tables_and_unknown_values_keep_their_labels(store, runs):
    store_two(store)
    store({"linear": 60.0}, method="simclr", options=OPTIONS, protocol="other")
    store({"linear": 60.0}, method="dino", method_label="dino[crops=8]")
    store({"linear": 60.0}, method="dino")
    frames = name_defaults(load_runs(runs))
    by_protocol = {name: set(rows["method"]) for name, rows in frames.results.groupby("protocol")}
    assert by_protocol["other"] == {"simclr"}
    assert {"dino", "dino[crops=8]"} < by_protocol["quick"]


def test_reports_show_them_with_the_style_of_the_plain_method(store, runs):
    for seed in range(2):
        store_two(store, seed=seed)
    data = collect(runs, pair=("simclr", "simclr[temperature=0.1]"))
    (table,) = data.tables
    assert [row.method for row in table.rows] == ["simclr[temperature=0.1]", "simclr[temperature=0.5]"]
    assert data.pair
    (figures,) = figure_data(data.frames, data.tables, None, every=True)
    assert figures.styles["simclr[temperature=0.5]"].colour == "#0072b2"
    assert figures.styles["simclr[temperature=0.5]"] != figures.styles["simclr[temperature=0.1]"]
