"""What users typed before names changed: read on, with a line that says the new name."""

import pytest

from results.index import DONE_INDEX
from tests.tools import forked

pytestmark = pytest.mark.slow  # networks are compiled, and a refinement trained

GRID = ["run", "--methods", "random", "--datasets", "digits", "--seeds", "0", "--views", "512", "--evaluations", "knn"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with a run measured under the present names, and what the command printed."""
    folder = tmp_path_factory.mktemp("renamed")
    words = [*GRID, "--refine", "neighbour_mean,no_edges[width=8,epochs=1]"]
    done = forked.bench(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "is called" not in done.stderr
    return folder, done.stdout


def times(folder):
    """When every file was written, but the index of finished runs."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != DONE_INDEX)
    return {path: path.stat().st_mtime_ns for path in files}


def test_old_names_mean_the_same_runs(measured):
    folder, printed = measured
    before = times(folder)
    words = [*GRID, "--plain", "--refine", "averaged,isolated[width=8,epochs=1]"]
    done = forked.bench(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "bench: --plain is called --reference now",
        "bench: the refinement averaged is called neighbour_mean now",
        "bench: the refinement isolated is called no_edges now",
    ]
    assert done.stdout == printed
    assert times(folder) == before


def test_old_names_plan_nothing(measured):
    folder, _ = measured
    words = [*GRID, "--refine", "isolated[width=8,epochs=1],isolated[width=8,epochs=1],averaged", "--dry-run"]
    done = forked.bench(*words, cwd=folder)
    assert done.stdout.splitlines()[0] == "1 runs done, 0 to execute"
    assert len(done.stderr.splitlines()) == 2
