"""Many finished runs are planned and counted without reading them again."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocols.spec.grid import expand, plan
from results import index, store
from results.store import CONFIG, RECORD
from slurm.status import read_status
from tests.tools.many_records import command, request, write_records

FEW = 60


@pytest.fixture
def runs(tmp_path):
    write_records(tmp_path / "runs", FEW)
    return tmp_path / "runs"


@pytest.fixture
def read(monkeypatch):
    """Names of the files of runs that were read."""
    found = []
    read_json = store.read_json

    def read_and_note(path):
        if path.parent.parent.name == "runs":
            found.append(path)
        return read_json(path)

    monkeypatch.setattr(store, "read_json", read_and_note)
    return found


def planned(runs, count=FEW):
    return plan(expand(request(count), runs), runs, runs.parent)


def test_finished_runs_are_read_once(runs, read):
    assert len(planned(runs).done) == FEW
    assert len(read) >= 2 * FEW
    read.clear()
    assert len(planned(runs).done) == FEW
    # of runs that differ in their seed alone, one is read for what it measured, and where it has failed
    assert len({path.parent for path in read}) == 5
    read.clear()
    assert read_status(runs).count("done") == FEW
    assert read == []
    assert (runs / index.DONE_INDEX).stat().st_size < 300 * FEW


def test_more_runs_take_as_many_times_longer(tmp_path):
    seconds = []
    for count in (20, FEW):
        runs = tmp_path / f"{count}" / "runs"
        write_records(runs, count)
        planned(runs, count)
        grid = expand(request(count), runs)
        start = time.process_time()
        for _ in range(3):
            plan(grid, runs, runs.parent)
            read_status(runs)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 3 * (FEW / 20) * seconds[0]


@pytest.mark.parametrize("name", [CONFIG, RECORD])
def test_a_run_that_is_damaged_later_costs_a_line(runs, name):
    planned(runs)
    damaged = runs / planned(runs).done[7].folder()
    text = (damaged / name).read_text()
    (damaged / name).write_text(text.replace("digits", "digitz", 1))
    assert [run.folder() for run in planned(runs).todo] == [damaged.name]
    overview = read_status(runs)
    assert overview.count("done") == FEW - 1
    (line,) = [run for run in overview.runs if run.state != "done"]
    assert (line.run, line.state) == (damaged.name, "unreadable")
    assert f"{name} is damaged" in line.reason
    (damaged / name).write_text(text)
    assert not planned(runs).todo
    assert read_status(runs).count("done") == FEW


def test_runs_that_come_go_and_fail_are_seen(runs):
    planned(runs)
    first, second, third = (runs / run.folder() for run in planned(runs).done[:3])
    (first / RECORD).unlink()
    store.write_failure(first, "out of memory")
    (second / RECORD).unlink()
    for path in third.iterdir():
        path.unlink()
    third.rmdir()
    assert {run.folder() for run in planned(runs).todo} == {first.name, second.name, third.name}
    states = {run.run: run.state for run in read_status(runs).runs}
    assert (states.pop(first.name), states.pop(second.name)) == ("failed", "unfinished")
    assert list(states.values()) == ["done"] * (FEW - 3)


def test_a_damaged_index_is_made_again(runs):
    planned(runs)
    path = runs / index.DONE_INDEX
    whole = path.read_bytes()
    for text in (
        b"",
        b"[]",
        whole[: len(whole) // 2],
        whole.replace(b"true", b"false"),
        whole.replace(b'":', b'";', 1),
    ):
        path.write_bytes(text)
        assert not planned(runs).todo
        assert path.read_bytes() == whole


def test_a_question_about_few_runs_reads_and_forgets_no_others(runs, read):
    assert len(planned(runs, 5).done) == 5
    assert len({path.parent for path in read}) == 5
    planned(runs)
    read.clear()
    planned(runs, 5)
    planned(runs)
    assert len({path.parent for path in read}) == 5


MEASURED = """
import resource, sys
from bench.cli import main
sys.argv = ["bench", *sys.argv[1:]]
try:
    main()
finally:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/status") as file:  # the peak of getrusage is that of the parent too
        peak = next(line.split()[1] for line in file if line.startswith("VmHWM"))
    print(usage.ru_utime + usage.ru_stime, peak, file=sys.stderr)
"""


def measured(*words, cwd):
    """Seconds of the processor and peak memory in MB of a command, and what it printed.

    The clock also measures what else the machine does.
    """
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], cwd=cwd, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stderr.splitlines()[-1].split())
    return seconds, peak / 1024, done.stdout


@pytest.mark.slow
def test_three_thousand_runs(tmp_path):
    """``tests.tools.many_records`` writes ten thousand, for which five seconds and 300 to 400 MB are allowed."""
    count, root = 3_000, Path(__file__).parents[2]
    write_records(tmp_path / "runs", count)
    where = ["--runs", str(tmp_path / "runs")]
    measured("status", *where, cwd=root)
    seconds, peak, printed = measured("status", *where, cwd=root)
    assert printed == "3000 runs: 3000 done\n"
    assert seconds < 2
    assert peak < 150
    seconds, peak, printed = measured("run", *command(count), "--dry-run", *where, cwd=root)
    assert printed == "3000 runs done, 0 to execute\n"
    assert seconds < 2
    assert peak < 150
