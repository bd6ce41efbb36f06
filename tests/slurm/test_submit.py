"""``bench submit`` and its kin, where there is no SLURM."""

import contextlib
import io
import sys
import time
from pathlib import Path

import pytest

from bench.cli import app
from results import store
from results.errors import RequestError

GRID = ["--methods", "random", "--datasets", "digits", "--seeds", "0-19", "--views", "1000"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Executes a command in an empty folder, on a machine without SLURM; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["bench"])

    def run_command(*words):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            app(words, standalone_mode=False)
        return said.getvalue()

    return run_command


WRONG = {
    "no SLURM": (["--time", "1h"], "there is no SLURM on this machine; go to a login node, or use bench run"),
    "no time": (["--dry-run"], "no time limit"),
    "no such time": (["--dry-run", "--time", "soon"], "'soon' is not a length of time"),
    "no unit": (["--dry-run", "--time", "1h", "--mem", "8"], "write it like 8G"),
    "no such profile": (["--dry-run", "--profile", "mine.toml"], "cannot read profile mine.toml"),
    "ours": (["--dry-run", "--time", "1h", "--sbatch", "array=1-3"], "'array' cannot be changed"),
    "a grid and a retry": (["--dry-run", "--time", "1h", "--retry", "all"], "--retry takes the place of a grid"),
    "fewer GPUs than ranks": (["--dry-run", "--time", "1h", "--gpus", "2", "--ranks", "4"], "add --gpus 4"),
    "a misspelt method": (["--dry-run", "--time", "1h", "--methods", "simclrr"], "did you mean simclr?"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_before_anything_is_made(bench, tmp_path, words, message):
    with pytest.raises(RequestError) as error:
        bench("submit", *GRID, *words)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_retry_knows_its_words(bench):
    with pytest.raises(RequestError, match="choose failed, timeout, all"):
        bench("submit", "--time", "1h", "--dry-run", "--retry", "some")


def test_a_dry_run_prints_scripts_and_leaves_nothing(bench, tmp_path):
    said = bench("submit", *GRID, "--time", "1h30", "--runs-per-job", "2", "--partition", "main", "--dry-run")
    assert "#SBATCH --array=0-9%10\n" in said
    assert "#SBATCH --partition=main\n" in said
    assert "20 runs in 10 jobs of 1 arrays; nothing was submitted" in said
    assert not list(tmp_path.iterdir())


def test_runs_are_packed_by_an_estimate(bench):
    said = bench("submit", *GRID, "--time", "1h", "--minutes-per-job", "10h", "--dry-run")
    assert "20 runs in 1 jobs of 1 arrays" in said


def test_ten_thousand_runs_take_seconds(bench):
    began = time.process_time()  # other processes may keep this one waiting
    words = ["--methods", "random", "--datasets", "digits", "--seeds", "0-9999", "--runs-per-job", "6"]
    said = bench("submit", *words, "--time", "1h", "--dry-run")
    assert "10,000 runs in 1,667 jobs of 2 arrays" in said
    assert time.process_time() - began < 20


def test_nothing_to_cancel_without_slurm(bench):
    with pytest.raises(RequestError, match="there is no SLURM"):
        bench("cancel")


def test_status_of_nothing(bench, tmp_path):
    with pytest.raises(RequestError, match="no runs folder runs"):
        bench("status")
    Path("runs").mkdir()
    assert bench("status") == "0 runs: none\n"
    assert '"queued": 0' in bench("status", "--json")
    assert bench("status", "--watch").startswith("0 runs: none")


def test_what_is_made_for_a_refused_submission_is_taken_back(run_of, tmp_path):
    from protocols.spec.execution import ExecutionContext
    from slurm.submission import SubmittedArray, new_submission, read_submission
    from slurm.submit import remove_refused, write_configs

    runs = [run_of("random", seed) for seed in range(3)]
    (tmp_path / runs[0].folder()).mkdir()
    context, made = ExecutionContext(tmp_path, tmp_path), list(write_configs(runs, tmp_path))
    tasks, arrays = [[run.folder()] for run in runs], [SubmittedArray(0, 2, 60, job="1"), SubmittedArray(2, 1, 60)]
    partly = new_submission(context, submission_id="one", command="", code="", root="", tasks=tasks, arrays=arrays)
    partly.folder.mkdir(parents=True)
    partly.save()
    remove_refused(partly, made)
    assert sorted(path.name for path in tmp_path.glob("digits-*")) == sorted(run.folder() for run in runs[:2])
    assert [array.job for array in read_submission(partly.folder).arrays] == ["1"]
    remove_refused(
        new_submission(context, submission_id="one", command="", code="", root="", tasks=tasks, arrays=arrays[1:]), made
    )
    assert [path.name for path in tmp_path.iterdir()] == [runs[0].folder()]  # it was there before


def test_a_claim_of_an_ended_job_is_released(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    store.take_claim(tmp_path / store.CLAIM)
    store.release(tmp_path, {"7_3"})
    assert (tmp_path / store.CLAIM).exists()
    store.release(tmp_path, {"7_4"})
    assert not (tmp_path / store.CLAIM).exists()


def test_a_restarted_job_takes_over_its_own_claim_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr("results.store.socket.gethostname", lambda: "first")
    store.take_claim(tmp_path / store.CLAIM)
    monkeypatch.setattr("results.store.socket.gethostname", lambda: "second")
    assert not store.is_abandoned(tmp_path / store.CLAIM)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert store.is_abandoned(tmp_path / store.CLAIM)
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert not store.is_abandoned(tmp_path / store.CLAIM)
