"""``bench report``: what it asks the machine."""

import pytest

from bench.commands.report import is_absent


@pytest.mark.parametrize(
    ("dataset", "absent"), [("shapes", False), ("stl10", True), ("imagenet1k", True), ("folder", True)]
)
def test_a_data_set_is_absent_if_its_files_are_or_nobody_knows_it(tmp_path, dataset, absent):
    assert is_absent(dataset, tmp_path) is absent
