"""``bench show``, and how commands refuse a runs folder that is not there."""

import json
import shutil
from pathlib import Path

import pytest

from bench.commands.show import lines
from results import store
from results.errors import RequestError
from results.store import read_run
from tests.tools import forked

MEASURED = Path(__file__).parents[2] / "results" / "measured" / "quick-shapes"
RUN = "shapes-conv4-simclr-s0-0d0d78dd"


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(MEASURED / RUN, folder / RUN)
    return folder


def test_the_provenance_is_in_words(runs):
    shown = "\n".join(lines(read_run(runs / RUN)))
    record = json.loads((runs / RUN / store.RECORD).read_text(encoding="utf-8"))
    (attempt,) = record["provenance"]["attempts"]
    assert f"attempts   {attempt['started']} by {attempt['commit'][:10]}\n" in shown
    assert ", 1 thread\n" in shown
    assert "1 attempt\n" in shown
    assert "packages   numpy " in shown
    assert "{" not in shown


def test_a_run_without_a_record_has_no_json(runs):
    (runs / RUN / store.RECORD).unlink()
    done = forked.bench("show", RUN, "--json", cwd=runs.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bench: {RUN} has no record: unfinished; the same command resumes it\n"
    store.write_failure(runs / RUN, "broken")
    done = forked.bench("show", RUN, "--json", cwd=runs.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bench: {RUN} has no record: failed, broken; see: bench show {RUN}\n"


@pytest.mark.parametrize("name", [store.CONFIG, store.RECORD])
def test_a_damaged_run_is_unreadable_everywhere_with_what_to_do(runs, name):
    (runs / RUN / name).write_text("{")
    problem = f"{runs / RUN / name} is damaged: it is not JSON; the command that made it makes it again"
    shown, as_json = (forked.bench("show", RUN, *more, cwd=runs.parent) for more in ([], ["--json"]))
    assert (shown.returncode, as_json.returncode, as_json.stdout) == (1, 1, "")
    assert shown.stdout.startswith(f"{RUN}: unreadable: runs/{RUN}/{name} is damaged: it is not JSON; the command that")
    assert as_json.stderr.startswith(f"bench: {RUN} has no record: unreadable, runs/{RUN}/{name} is damaged")
    states = forked.bench("status", "--runs", str(runs), cwd=runs.parent).stdout
    assert "1 runs: 1 unreadable" in states
    assert f"unreadable  {RUN}  {problem}" in states
    assert f"{RUN}  unreadable: " in forked.bench("list", "runs", cwd=runs.parent).stdout


def test_the_remedy_keeps_what_a_newer_version_wrote(runs):
    path = runs / RUN / store.RECORD
    record = {**(store.read_json(MEASURED / RUN / store.RECORD) or {}), "schema": 99}
    store.write_json(path, record)
    assert read_run(runs / RUN).remedy == "update bench"


@pytest.mark.parametrize("words", [["status"], ["gc"], ["report"], ["list", "runs"], ["show", "x"]])
def test_a_wrong_runs_folder_is_refused_alike(runs, words):
    nowhere, run = runs.parent / "nowhere", runs / RUN
    done = forked.bench(*words, "--runs", str(nowhere), cwd=runs.parent)
    hint = "make some with bench run, or name their folder with --runs DIR"
    assert (done.returncode, done.stderr) == (2, f"bench: no runs folder {nowhere}; {hint}\n")
    done = forked.bench(*words, "--runs", str(run), cwd=runs.parent)
    hint = "name the folder above it with --runs DIR"
    assert (done.returncode, done.stderr) == (2, f"bench: {run} is itself a run; {hint}\n")


@pytest.mark.parametrize("words", [["report"], ["list", "runs"], ["show", "x"]])
def test_a_folder_without_runs_is_named(tmp_path, words):
    runs = tmp_path / "runs"
    runs.mkdir()
    done = forked.bench(*words, "--runs", str(runs), cwd=tmp_path)
    assert (done.returncode, done.stderr.partition(";")[0]) == (2, f"bench: no runs in {runs}")


def test_runs_are_not_executed_within_a_run(runs):
    words = ["run", "--methods", "random", "--datasets", "digits", "--seeds", "0", "--runs", f"runs/{RUN}"]
    done = forked.bench(*words, cwd=runs.parent)
    assert done.returncode == 2
    assert "is itself a run; name the folder above it" in done.stderr


def test_the_cancellation_of_jobs_wants_a_runs_folder(runs, monkeypatch):
    from bench.commands.cancel import cancel

    monkeypatch.setattr("slurm.queue.require_slurm", lambda: None)
    with pytest.raises(RequestError, match="no runs folder nowhere"):
        cancel(runs=Path("nowhere"))


def test_runs_that_match_are_named(runs):
    other = next(MEASURED.glob("*simclr-s1*"))
    shutil.copytree(other, runs / other.name)
    done = forked.bench("show", "simclr", cwd=runs.parent)
    assert done.stderr == f"bench: 2 runs match 'simclr'; choose one: {RUN}, {other.name}\n"
