"""A few trials of each campaign; the README of this folder says what all of them gave."""

from pathlib import Path

import pytest

from tests.campaigns.takeover import OWNERS, attempt
from tests.tools import forked


def test_takeovers_by_clocks_that_differ_make_one_writer(tmp_path):
    found = attempt(tmp_path, 2 * len(OWNERS), 4)
    assert found == {f"{kind}: one writer": 2 for kind in OWNERS}


@pytest.mark.slow
@pytest.mark.parametrize(("campaign", "only"), [("damage", "claim | a_pipe"), ("kill", "checkpoint.pt torn")])
def test_trials_end_well(tmp_path, campaign, only):
    words = [campaign, "--only", only, "--folder", str(tmp_path / "campaign"), "--nice", "0"]
    code = f"import sys; sys.argv = {words}; from tests.campaigns.{campaign} import main; main()"
    done = forked.execute(code, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    header, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows, done.stdout
    fine = ("file", "killed", "at", "trials", "equal", "named", "made again", "named and made again", "not needed")
    assert all(word.strip() in fine for word in header.strip("|").split("|")), done.stdout
