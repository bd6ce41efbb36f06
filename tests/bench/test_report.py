"""``bench report``: what it asks the machine."""

from pathlib import Path

import pytest

from bench.commands.report import is_absent, split_folders
from tests.tools import forked


@pytest.mark.parametrize(
    ("dataset", "absent"), [("shapes", False), ("stl10", True), ("imagenet1k", True), ("folder", True)]
)
def test_a_data_set_is_absent_if_its_files_are_or_nobody_knows_it(tmp_path, dataset, absent):
    assert is_absent(dataset, tmp_path) is absent


def test_folders_by_commas_and_one_with_a_comma_in_its_name(tmp_path):
    (odd := tmp_path / "a,b").mkdir()
    assert split_folders([Path("x,y"), odd, Path("y")]) == [Path("x"), Path("y"), odd]


def test_a_grid_leaves_a_report_whose_figures_these_tests_do_not_draw(tmp_path):
    """Figures that are drawn took more than a third of the time of a small run."""
    words = ["run", "--methods", "random", "--datasets", "digits", "--seeds", "0,1", "--evaluations", "knn"]
    done = forked.bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = [path for path in (tmp_path / "report" / "figures").iterdir() if not path.name.startswith(".")]
    assert figures
    assert {path.read_bytes() for path in figures} == {forked.EMPTY}
