"""The numbers of the main tables; what they look like is tested with their section."""

import re

import pandas as pd

from results.analysis.tables import ResultColumn, ResultRow, difference_rows, unique_name


def test_names_are_safe_and_unique():
    name = unique_name("relational2020[lr=0.1, flip=0]-timm:resnet18@small", [])
    assert re.fullmatch(r"[\w.@+=,-]+", name)
    assert unique_name("a b", ["a_b"]) == "a_b~2"


def test_differences_are_shown_if_one_of_them_has_an_interval():
    column = {"dataset": "shapes", "evaluated_on": "shapes", "evaluation": "linear", "metric": "top1"}
    nan = float("nan")
    differences = pd.DataFrame(
        [
            {**column, "method": "byol", "mean": -2.0, "low": nan, "high": nan, "n": 1},
            {**column, "method": "dino", "mean": -9.0, "low": -11.0, "high": -7.0, "n": 3},
        ]
    )
    columns = [ResultColumn(**column)]
    rows = [ResultRow(method, "", (None,)) for method in ("simclr", "byol", "dino")]
    byol, dino = difference_rows(differences, columns, rows)
    assert [(row.method, row.cells[0].half, row.cells[0].tied) for row in (byol, dino)] == [
        ("byol", None, True),
        ("dino", 2.0, False),
    ]
    assert difference_rows(differences.head(1), columns, rows) == ()
