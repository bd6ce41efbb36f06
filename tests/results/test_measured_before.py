"""Reports of the committed results say what they said at commit 4775236; ``measured_before`` holds what that was.

A file of it each:

- ``summary.csv`` and ``differences.csv`` as the report wrote them, without costs;
- ``refined.csv``: mean and 95 % Student-t interval over seeds of every evaluation after every refinement;
- ``published.csv``: what stood beside published numbers;
- ``runs.txt``: the runs there were; later ones are left out;
- ``table.json``: the numbers of every table of accuracies in ``table.md``, a list per row of a table.

Columns may be added and what is displayed may be renamed: rows are joined on the keys, and refinements, of which the
names are displayed, are compared by their numbers. Intervals of differences follow another rule since, and baselines
are no longer compared with the best: of differences between methods that compete the means are compared.
"""

import io
import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.names import BASELINES
from tests.tools import forked

MEASURED = Path(__file__).parents[2] / "results" / "measured"
BEFORE = Path(__file__).parent / "measured_before"
FOLDERS = sorted(path.name for path in BEFORE.iterdir())

CELL = ["method", "dataset", "evaluated_on", "backbone", "protocol", "version", "track", "evaluation", "metric"]
KEYS = {"summary": CELL, "differences": [*CELL, "reference"]}
NUMBERS = ["mean", "std", "low", "high", "n"]
DIFFERENCE_NUMBERS = ["mean", "std", "n"]
PUBLISHED = ["source", "table", "row", "column", "dataset", "backbone", "protocol", "metric"]
PUBLISHED_NUMBERS = ["published", "mean", "low", "high", "n", "difference"]
DEFAULTS_NAMED = {"graphnnclr2025-small": {"relational": "relational[batch=64,views=4]"}}
"""Labels that now name the defaults of options in which another method of the same name differs."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the report of every folder, as it is now."""
    root = tmp_path_factory.mktemp("measured")
    for name in FOLDERS:
        for run in (BEFORE / name / "runs.txt").read_text(encoding="utf-8").split():
            shutil.copytree(MEASURED / name / run, root / name / "runs" / run)
    for name in FOLDERS:
        done = forked.bench("report", "--runs", f"{name}/runs", "--to", f"{name}/report", "--published", cwd=root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(params=FOLDERS)
def reports(request, written):
    """What the report of a folder said before, and what it says now."""
    return BEFORE / request.param, written / request.param / "report"


@pytest.mark.parametrize("table", KEYS)
def test_means_intervals_and_seeds_are_those_of_before(reports, table):
    before, now = read_before(reports[0] / f"{table}.csv"), read(reports[1] / f"{table}.csv")
    if "refinement" in now:  # which the tables of 4775236 did not hold
        now = now[now["refinement"].isna() | (now["refinement"] == "")]
    if table == "differences":
        before = before[~before["method"].isin(BASELINES)]
    assert len(now) == len(before)
    keys = [key for key in KEYS[table] if key in now]
    assert {"method", "evaluation", "dataset", "backbone", "protocol"} <= {*keys}
    joined = before.merge(now, on=keys, suffixes=("_before", ""), validate="one_to_one")
    assert len(joined) == len(before), "a key has changed"
    for name in NUMBERS if table == "summary" else DIFFERENCE_NUMBERS:
        np.testing.assert_allclose(joined[name], joined[f"{name}_before"], rtol=0, atol=1e-6, err_msg=name)


def test_after_refinements_they_are_too(reports):
    before = read_before(reports[0] / "refined.csv")
    assert_same_numbers(before, aggregated(read(reports[1] / "results.csv")), CELL, NUMBERS)
    summary = read(reports[1] / "summary.csv")
    if "refinement" in summary:
        assert_same_numbers(before, summary, CELL, NUMBERS)


def test_what_stands_beside_published_numbers_is_the_same(reports):
    """But for the gain of a refined method, which is now compared with a refinement that none of them has."""
    before, now = (read(folder / "published.csv") for folder in reports)
    before = before[before["source"] != "Javidani et al. 2025"]
    assert_same_numbers(before, beside_published(now), PUBLISHED, PUBLISHED_NUMBERS)


def test_every_printed_accuracy_is_the_same(reports):
    before, now = reports
    was = Counter(map(accuracies, json.loads((before / "table.json").read_text(encoding="utf-8"))))
    missing = was - Counter(map(accuracies, printed(now / "table.md")))
    assert was
    assert not missing


def test_every_folder_is_compared():
    assert sorted(path.name for path in BEFORE.iterdir()) == FOLDERS


def read(path):
    """A table; whole numbers stay such, and nothing but an empty cell is missing."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def read_before(path):
    """A table of before, with the labels of now."""
    labels = DEFAULTS_NAMED.get(path.parent.name, {})
    return read(path).replace({"method": labels, "reference": labels})


def aggregated(results):
    """Mean, standard deviation and interval over seeds, of every cell after every refinement and after none."""
    rows, keys = [], [key for key in [*CELL, "refinement", "setup"] if key in results]
    for key, cell in results.groupby(keys, dropna=False):
        values = cell["value"].to_numpy()
        n, mean = len(values), values.mean()
        std = values.std(ddof=1) if n > 1 else np.nan
        half = stats.t.ppf(0.975, n - 1) * std / n**0.5 if n > 1 else np.nan
        row = dict(zip(keys, key, strict=True))
        rows.append({**row, "mean": mean, "std": std, "n": n, "low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def assert_same_numbers(before, now, keys, numbers):
    """Both hold the same rows of numbers under every key, in whatever order and to the digits that are stored."""
    keys = [key for key in keys if key in now]
    before, now = (rows_by_key(table, keys, numbers) for table in (before, now))
    assert now.keys() == before.keys()
    for key, rows in before.items():
        left = now[key]
        assert len(left) == len(rows), key
        for row in rows:
            found = [place for place, one in enumerate(left) if one == pytest.approx(row, rel=0, abs=2e-6, nan_ok=True)]
            assert found, f"{key} no longer has {dict(zip(numbers, row, strict=True))}"
            del left[found[0]]


def rows_by_key(table, keys, numbers):
    found = {}
    for values in table[[*keys, *numbers]].itertuples(index=False):
        found.setdefault(tuple(map(str, values[: len(keys)])), []).append([*map(float, values[len(keys) :])])
    return found


def beside_published(table):
    """The published numbers that something was measured for."""
    return table[table["mean"].notna()]


def accuracies(row):
    """Of every cell the numbers before the first difference; none of a row of differences alone."""
    cells = (" ".join(itertools.takewhile(lambda number: number[0] not in "−+", cell.split())) for cell in row)
    return tuple(sorted(filter(None, cells)))


def printed(path):
    """The numbers in every row of the accuracy tables of a report, whatever rows and columns are called."""
    cell = re.compile(r"\**[−+-]?\d+\.\d\d\b[^a-zA-Z]*|–|")
    for block in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n ").split("|")][1:] for line in io.StringIO(block)][2:]
        if all(cell.fullmatch(text) for row in rows for text in row):
            yield from (
                tuple(sorted(" ".join(re.findall(r"[−+]?\d+(?:\.\d+)?", text)) for text in row)) for row in rows
            )
