"""What the numbers of a table say agrees with the marks and differences of the table."""

import pytest

from results.analysis.findings import FINDING_COLUMNS, finding_frame
from results.report.data import collect
from tests.tools.records import ACCURACIES


@pytest.fixture
def grid(store):
    for method, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            store({"linear": value, "linear/ece": 100 - value}, method=method, seed=seed)


def test_the_best_and_those_that_cannot_be_told_from_it(grid, runs, store):
    store({"linear": 99.0}, method="vicreg", seed=7)
    (found, error) = next(iter(collect(runs).findings.values()))
    assert (found.best, found.mean, found.seeds) == ("simclr", 61.0, 3)
    assert found.not_different == ("byol",)
    assert found.worse == ("barlow",)
    assert found.not_compared == ("vicreg",)
    assert found.others == 3
    assert found.baselines == {"upper": 91.0, "lower": 30.5}
    assert (error.column.metric, error.best, error.worse) == ("ece", "simclr", ("barlow",))


def test_findings_are_what_the_tables_mark(grid, runs):
    data = collect(runs)
    (table,) = data.tables
    for index, found in enumerate(data.findings[table.key]):
        tied = {row.method for row in table.differences if row.cells[index] and row.cells[index].tied}
        apart = {row.method for row in table.differences if row.cells[index] and not row.cells[index].tied}
        assert (set(found.not_different), set(found.worse)) == (tied, apart)
        assert {row.method for row in table.rows if row.cells[index].best} <= {found.best, *found.not_different}


def test_a_frame_has_a_row_for_each(grid, runs):
    frame = finding_frame(collect(runs).findings)
    assert list(frame.columns) == FINDING_COLUMNS
    assert list(frame["best"]) == ["simclr", "simclr"]
    assert list(frame["not_different"]) == ["byol", "byol"]
