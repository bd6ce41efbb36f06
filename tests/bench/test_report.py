"""``bench report``: what it asks the machine."""

from pathlib import Path

import pytest

from bench.commands.report import is_absent, split_folders


@pytest.mark.parametrize(
    ("dataset", "absent"), [("shapes", False), ("stl10", True), ("imagenet1k", True), ("folder", True)]
)
def test_a_data_set_is_absent_if_its_files_are_or_nobody_knows_it(tmp_path, dataset, absent):
    assert is_absent(dataset, tmp_path) is absent


def test_folders_by_commas_and_one_with_a_comma_in_its_name(tmp_path):
    (odd := tmp_path / "a,b").mkdir()
    assert split_folders([Path("x,y"), odd, Path("y")]) == [Path("x"), Path("y"), odd]
