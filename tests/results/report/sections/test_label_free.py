"""How loss, RankMe and LiDAR rank methods, against pairs that are counted."""

from itertools import combinations

import pytest

from results.analysis.frame import load_runs
from results.analysis.label_free import rank_without_labels
from results.report.data import collect
from results.report.sections import build_sections
from results.store import RECORD, read_json, write_json

ACCURACY = {"simclr": 70.0, "byol": 60.0, "barlow": 65.0, "vicreg": 50.0, "supervised": 99.0}
LOSS = {"simclr": 1.0, "byol": 2.0, "barlow": 3.0, "vicreg": 4.0, "supervised": 0.0}
RANKME = {"simclr": 4.0, "byol": 9.0, "barlow": 6.0, "vicreg": 12.0, "supervised": 1.0}
LIDAR = {"simclr": 40.0, "byol": 9.0, "barlow": 30.0}


@pytest.fixture
def ranked(store, runs):
    for method, value in ACCURACY.items():
        for seed in (0, 1):
            folder = store({"linear": value + seed}, method=method, seed=seed, loss=LOSS[method] + seed)
            record = read_json(folder / RECORD)
            record["health"] |= {"rankme": RANKME[method] - seed, "lidar": LIDAR.get(method)}
            write_json(folder / RECORD, record)
    return runs


def slow_tau(sign, numbers):
    """Pairs in the same order minus pairs in the other, by their number; no ties."""
    pairs = [*combinations([method for method in numbers if method != "supervised"], 2)]
    same = [(ACCURACY[a] - ACCURACY[b]) * sign * (numbers[a] - numbers[b]) > 0 for a, b in pairs]
    return (2 * sum(same) - len(pairs)) / len(pairs)


def test_tau_counts_pairs_of_methods_without_baselines(ranked):
    frames = load_runs(ranked)
    (found,) = rank_without_labels(frames.unrefined, frames.runs)
    assert found.by_criterion["last_loss"].tau == pytest.approx(slow_tau(-1, LOSS)) == pytest.approx(2 / 3)
    assert found.by_criterion["rankme"].tau == pytest.approx(slow_tau(1, RANKME)) == pytest.approx(-1)
    assert {agreement.methods for agreement in found.by_criterion.values()} == {4}
    assert "lidar" not in found.by_criterion  # of three methods


def test_the_report_has_it_where_there_are_enough_methods(ranked, store, runs):
    (section,) = (section for section in build_sections(collect(ranked)) if section.name == "label-free")
    ((row,),) = (table.rows for table in section.tables)
    assert row.header == ("quick", "conv4", "shapes", "linear")
    assert [cell.text if cell else None for cell in row.cells] == ["4", "0.67 (p 0.33)", "−1.00 (p 0.083)", None]
    for folder in runs.glob("*vicreg*"):
        (folder / RECORD).unlink()
    assert "label-free" not in {section.name for section in build_sections(collect(ranked))}
