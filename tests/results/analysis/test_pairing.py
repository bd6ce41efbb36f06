"""What pairing by seed is worth on the committed records, and that the documentation says no more."""

import re
from pathlib import Path

import numpy as np
import pytest

from results.analysis.frame import load_runs
from results.analysis.statistics import COLUMN, without_baselines

ROOT = Path(__file__).parents[3]
README = (ROOT / "results" / "analysis" / "README.md").read_text(encoding="utf-8")
FOLDERS = sorted(path.name for path in (ROOT / "results" / "measured").iterdir())


def ratio(pairs):
    """Variance of differences over that of differences between unrelated values of the same variances, summed."""
    paired = sum(np.var(a - b, ddof=1) for a, b in pairs)
    return paired / sum(np.var(a, ddof=1) + np.var(b, ddof=1) for a, b in pairs)


def ratios(folder):
    """For every evaluation: seeds; ratios between methods, and within a representation for refined and unrefined."""
    frames = load_runs(ROOT / "results" / "measured" / folder)
    results = without_baselines(frames.results[frames.results["metric"] == "top1"])
    for key, column in results.groupby(COLUMN, sort=False):
        label = dict(zip(COLUMN, key, strict=True))
        values = column.pivot_table(index="seed", columns=["refinement", "pretraining"], values="value")
        bare = values[""].dropna(axis=1)
        if bare.shape[1] < 2 or len(bare) < 2:
            continue
        between = [(bare[a], bare[b]) for i, a in enumerate(bare) for b in bare.columns[:i]]
        refined = values.drop(columns="", level=0).dropna(axis=1)
        within = [(refined[name, method], bare[method]) for name, method in refined]
        changed = re.sub(r"^[\w-]+[\[, ]*|\]", "", label["protocol"])  # such as epochs=20
        name = ", ".join(filter(None, (folder, changed, label["evaluation"])))
        yield name, len(bare), ratio(between), ratio(within) if within else None


@pytest.fixture(scope="module")
def measured():
    return [row for folder in FOLDERS for row in ratios(folder)]


def test_the_table_of_ratios_is_that_of_the_records(measured):
    shown = re.findall(r"^\| ([\w-]+, [\w=., -]+) \| (\d+) \| ([\d.]+) \| ([\d.–]+) \|$", README, flags=re.MULTILINE)
    assert shown == [(name, f"{n}", f"{b:.2f}", "–" if w is None else f"{w:.2f}") for name, n, b, w in measured]


def test_pairing_is_worth_much_within_a_representation_and_hardly_anything_between_methods(measured):
    between = [ratio for _, _, ratio, _ in measured]
    within = [ratio for _, _, _, ratio in measured if ratio is not None]
    most_seeds = [ratio for _, n, ratio, _ in measured if n >= 5]
    assert f"between {min(between):.2f} and {max(between):.2f}, with a median of {np.median(between):.2f}" in README
    assert f"between {min(within):.2f} and {max(within):.2f}" in README
    assert f"the {len(most_seeds)} rows of five seeds have a median of {np.median(most_seeds):.2f}" in README
    assert np.median(between) > 2 * np.median(within)


def test_a_ratio_by_hand():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    # The differences are 0, 0, -1 with variance 1/3; the variances are 1 and 7/3.
    assert ratio([(a, b)]) == pytest.approx((1 / 3) / (1 + 7 / 3))
    assert ratio([(a, -a)]) == pytest.approx(2)
