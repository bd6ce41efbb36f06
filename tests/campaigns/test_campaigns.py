"""A few trials of each campaign; the README of this folder says what all of them gave."""

import subprocess
import sys

import pytest

from tests.campaigns.takeover import OWNERS, attempt


def test_takeovers_by_clocks_that_differ_make_one_writer(tmp_path):
    found = attempt(tmp_path, 2 * len(OWNERS), 4)
    assert found == {f"{kind}: one writer": 2 for kind in OWNERS}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["damage", "--only", "a_pipe 1 | report"],
        ["damage", "--only", "not_readable 1 | status"],
        ["kill", "--only", "checkpoint.pt torn"],
    ],
    ids=lambda words: words[0],
)
def test_trials_end_well(tmp_path, words):
    command = [sys.executable, "-m", f"tests.campaigns.{words[0]}", *words[1:], "--folder", str(tmp_path / "campaign")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows, done.stdout
    fine = ("file", "killed", "at", "trials", "equal", "named", "made again", "named and made again", "not needed")
    assert all(word.strip() in fine for word in header.strip("|").split("|")), done.stdout
