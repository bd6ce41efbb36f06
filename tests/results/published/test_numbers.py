"""The published numbers: what the files promise, and cells checked against the papers."""

import re

import pandas as pd
import pytest

from results.published import PUBLISHED, load

README = (PUBLISHED / "README.md").read_text(encoding="utf-8")


def value_of(published, **keys):
    rows = published
    for key, value in {"evaluation": "linear", "metric": "top1", "protocol": "relational2020", **keys}.items():
        rows = rows[rows[key] == value]
    (value,) = rows["value"].unique()
    return value


def test_files_hold_what_the_columns_promise():
    rows = pd.concat(pd.read_csv(path, keep_default_na=False) for path in PUBLISHED.glob("*.csv"))
    counts = re.findall(r"^\| `(\w+)\.csv` .* \| (\d+) \|$", README, flags=re.MULTILINE)
    assert {f"{name}.csv": int(count) for name, count in counts} == {
        path.name: len(pd.read_csv(path)) for path in PUBLISHED.glob("*.csv")
    }
    linear = {"linear", *(f"linear-{percent}" for percent in (1, 10, 25, 50))}
    assert set(rows["evaluation"].str.partition("[")[0]) == {
        *linear,
        "linear-graphnnclr2025 after transductive-released",
        "knn",
        "finetune",
    }
    assert set(rows["metric"].str.partition(" over ")[0]) == {"top1", "top5"}
    gains = rows["metric"].str.contains(" over ")
    assert pd.to_numeric(rows["value"])[~gains].between(0, 100).all()
    assert set(pd.to_numeric(rows["epochs"]).dropna()) == {200, 300}
    assert (rows[["source", "table", "row", "column", "method", "dataset", "evaluated_on"]] != "").all(axis=None)
    assert not rows.duplicated(["source", "table", "row", "column"]).any()
    assert (rows["conditions"] != "").where(rows["protocol"] == "", other=True).all()


def test_what_was_not_found_at_its_source_is_marked():
    published = load()
    secondary = published[published["secondary"] != ""]
    assert set(secondary["source"]) == {"Ermolov et al. 2021"}
    assert set(published.loc[published["source"] == "Ermolov et al. 2021", "secondary"]) == set(secondary["secondary"])


def test_cells_of_sources_added_in_2026():
    published = load()
    small = {"backbone": "timm:resnet18@small", "dataset": "cifar10", "protocol": ""}

    def cell(source, method, evaluation, **keys):
        rows = published[published["source"].str.startswith(source)]
        return value_of(rows, method=method, evaluation=evaluation, **keys)

    assert cell("Ermolov", "wmse[views=4]", "linear", **small) == 91.99
    assert cell("Ermolov", "byol", "knn", **small) == 89.45
    assert cell("CW-RGP", "cw_rgp[views=4]", "knn", **small) == 90.74
    assert cell("LeJEPA", "lejepa", "linear", protocol="") == 90.7
    assert cell("MAE", "mae", "finetune", protocol="") == 83.57
    of_dkobak = published[published["source"].str.startswith("simclr-cifar10") & (published["table"] == "1000 epochs")]
    assert set(of_dkobak["seeds"]) == {3}


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


def test_gains_over_a_backbone_are_the_differences_of_table_2():
    published = load().set_index(["table", "row", "column"])["value"]
    for (row, column), gain in published["Figure 2a"].items():
        deep, shallow = (published["Table 2", row, f"{backbone} {column}"] for backbone in ("ResNet-32", "Conv-4"))
        assert gain == pytest.approx(deep - shallow)
