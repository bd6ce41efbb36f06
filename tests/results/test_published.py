"""Published numbers beside measured ones."""

import pandas as pd
import pytest

from results.frame import read
from results.published import PUBLISHED, compare, lines_of, load, nearby, parts
from results.statistics import summarize

PAPER = {"protocol": "relational2020", "track": "recipe", "dataset": "cifar10", "epochs": 200}
KEYS = ["method", "dataset", "backbone", "evaluated_on", "evaluation", "metric"]


def value_of(published, **keys):
    rows = published
    for key, value in {"evaluation": "linear", "protocol": "relational2020", **keys}.items():
        rows = rows[rows[key] == value]
    (value,) = rows["value"]
    return value


def test_files_hold_what_the_columns_promise():
    rows = pd.concat(pd.read_csv(path, keep_default_na=False) for path in PUBLISHED.glob("*.csv"))
    assert len(rows) == 93 + 142 + 149 + 3
    assert set(rows["evaluation"].str.partition("[")[0]) == {"linear", "knn", "finetune"}
    assert set(rows["metric"]) == {"top1", "top5", "top1 gain"}
    assert pd.to_numeric(rows["value"]).between(0, 100).all()
    assert (rows[["source", "table", "row", "method", "dataset", "evaluated_on"]] != "").all(axis=None)
    assert (rows["conditions"] != "").where(rows["protocol"] == "", other=True).all()


def test_cells_of_the_paper():
    published = load()
    conv4 = {"backbone": "conv4", "dataset": "cifar10", "evaluated_on": "cifar10"}
    assert value_of(published, method="relational", **conv4) == 61.03
    assert value_of(published, method="simclr", **conv4) == 60.43
    assert value_of(published, method="supervised", **conv4) == 80.46
    resnet = {"backbone": "resnet32", "evaluated_on": "cifar100"}
    assert value_of(published, method="rotnet", dataset="cifar100", **resnet) == 29.02
    assert value_of(published, method="deepinfomax", dataset="cifar10", **resnet) == 23.73
    coarse = {"backbone": "resnet32", "dataset": "cifar100", "evaluated_on": "cifar100-20"}
    assert value_of(published, method="deepcluster", **coarse) == 29.49


def test_gains_of_the_abstract_follow_from_table_1():
    # Relational reasoning against RotationNet and SimCLR over the six columns of Table 1: 13.57 and 2.87 points.
    rows = pd.read_csv(PUBLISHED / "relational2020.csv")
    means = rows[rows["table"] == "Table 1"].groupby("method")["value"].agg(["mean", "size"])
    assert means.loc["relational", "size"] == 6
    assert means.loc["relational", "mean"] - means.loc["rotnet", "mean"] == pytest.approx(13.57, abs=0.01)
    assert means.loc["relational", "mean"] - means.loc["simclr", "mean"] == pytest.approx(2.87, abs=0.01)


def test_repeated_numbers_are_one_row():
    published = load()
    rows = published[(published["method"] == "simclr") & (published["value"] == 42.13)]
    assert rows["source"].to_list() == [
        "Patacchiola & Storkey 2020, Table 1; Table 2; author's comment, issue 3 of the official code"
    ]


def verdicts(store, runs, values, *, method="relational", **options):
    for seed, value in enumerate(values, start=1):
        store({"linear": value}, method=method, seed=seed, **{**PAPER, **options})
    comparison = compare(summarize(read(runs).results), load())
    measured = comparison[comparison["mean"].notna()]
    return dict(zip(measured["published"], measured["verdict"], strict=True))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([60.9, 61.0, 61.1], "within interval"),
        ([62.9, 63.0, 63.1], "higher"),
        ([58.9, 59.0, 59.1], "lower"),
        ([61.03], "no interval (one seed)"),
    ],
)
def test_verdicts(store, runs, values, verdict):
    assert verdicts(store, runs, values)[61.03] == verdict


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"label": "relational2020[epochs=10]"}, "epochs=10"),
        ({"method_label": "relational[views=4]"}, "views=4"),
        (
            {"label": "relational2020[epochs=10,lr=1]", "method_label": "relational[views=4]"},
            "epochs=10, lr=1, views=4",
        ),
        ({"protocol": "quick"}, "protocol quick"),
        ({"protocol": "quick", "label": "quick[lr=1]"}, "protocol quick[lr=1]"),
    ],
)
def test_other_conditions_are_not_comparable(store, runs, options, why):
    assert verdicts(store, runs, [61.0, 61.1], **options)[61.03] == f"not comparable: {why}"


def test_a_changed_evaluation_is_not_comparable(store, runs):
    for seed in (1, 2):
        store({"linear[lr=0.1]": 61.0}, method="relational", seed=seed, evaluations=("linear[lr=0.1]",), **PAPER)
    comparison = compare(summarize(read(runs).results), load())
    assert comparison[comparison["published"] == 61.03]["verdict"].to_list() == ["not comparable: lr=0.1"]


def test_published_changes_are_compared_by_label(store, runs):
    options = {"method": "simclr", "backbone": "resnet32"}
    found = verdicts(store, runs, [76.0, 76.1], method_label="simclr[loss=mean_log]", **options)
    assert found == {77.02: "not comparable: loss=mean_log", 76.05: "within interval"}


def test_what_the_paper_leaves_open_is_not_comparable(store, runs):
    found = verdicts(store, runs, [80.4, 80.5], method="supervised")
    assert found[80.46].startswith("not comparable: theirs taken to be")


def test_numbers_without_a_protocol_of_ours_are_not_comparable(store, runs):
    found = verdicts(store, runs, [90.0, 91.0], method="simclr", backbone="timm:resnet18@small")
    assert found[90.74] == (
        "not comparable: protocol relational2020, theirs 1000 epochs; when the probe was trained is not stated; "
        "seeds not stated"
    )


def test_coarse_labels_share_images_with_fine_ones(store, runs):
    found = verdicts(store, runs, [52.4, 52.5], dataset="cifar100-20", backbone="resnet32")
    assert found == {52.44: "within interval"}


def test_a_transfer_is_compared_with_the_papers_transfer(store, runs):
    values = {"linear": 75.0, "linear@cifar100": 41.5}
    options = {"method": "relational", "backbone": "resnet32", "evaluate_on": ("cifar10", "cifar100"), **PAPER}
    store(values, seed=1, **options)
    comparison = compare(summarize(read(runs).results), load())
    measured = comparison[comparison["mean"].notna()]
    assert dict(zip(measured["published"], measured["mean"], strict=True)) == {41.50: 41.5, 74.99: 75.0}
    assert "cifar10 → cifar100 resnet32" in {line[1] for line in lines_of(measured)}


def test_coarse_labels_are_a_target_of_fine_ones(store, runs):
    options = {"method": "simclr", "backbone": "resnet32", "evaluate_on": ("cifar100", "cifar100-20")}
    store({"linear": 42.0, "linear@cifar100-20": 51.9}, seed=1, **{**PAPER, **options, "dataset": "cifar100"})
    comparison = compare(summarize(read(runs).results), load())
    measured = comparison[comparison["mean"].notna()]
    assert set(zip(measured["published"], measured["mean"], strict=True)) == {
        (42.13, 42.0),
        (42.19, 42.0),
        (51.88, 51.9),
    }


def test_differences_and_what_nobody_measured(store, runs):
    verdicts(store, runs, [62.0, 63.0])
    comparison = compare(summarize(read(runs).results), load())
    measured = comparison[comparison["published"] == 61.03].iloc[0]
    assert measured["difference"] == pytest.approx(62.5 - 61.03)
    assert set(comparison[comparison["mean"].isna()]["verdict"]) == {"not measured"}
    near = nearby(comparison)
    assert sorted(near[near["mean"].isna()]["method"]) == [
        *["deepcluster", "deepinfomax", "random", "rotnet", "simclr", "supervised"]
    ]
    line = next(line for line in lines_of(near) if line[0] == "rotnet")
    assert line[1:7] == ("cifar10 conv4", "linear", "–", "56.73 ± 1.71", "–", "not measured")


def test_nothing_measured_at_all(store, runs):
    store(failure={"reason": "out of memory"})
    comparison = compare(summarize(read(runs).results), load())
    assert set(comparison["verdict"]) == {"not measured"}
    assert nearby(comparison).empty


def test_labels_come_apart():
    assert parts("quick") == ("quick", [])
    assert parts("a[b=1,c=[2, 3],d.e=x]{f=4}") == ("a", ["b=1", "c=[2, 3]", "d.e=x", "f=4"])
