"""What a job decides on its node."""

import json
import time

import pytest

from protocols.spec.execution import ExecutionContext
from results import store
from slurm import submission as records
from slurm.snapshot import code_root, copy_code, digest_of_code, with_copied_plugins
from slurm.submission import Array
from slurm.worker import Attempt, Task


@pytest.fixture
def task(run_of, tmp_path):
    """Three runs in one job, none begun."""
    runs = [run_of("random", seed) for seed in range(3)]
    for run in runs:
        (tmp_path / run.folder()).mkdir()
        store.write_json(tmp_path / run.folder() / store.CONFIG, run.config())
    submission = records.new(
        ExecutionContext(tmp_path, tmp_path), name="one", command="bench submit", code=digest_of_code(code_root()),
        root=str(code_root()), tasks=[[run.folder() for run in runs]], arrays=[Array(0, 1, minutes=10, job="1")],
    )  # fmt: skip
    submission.folder.mkdir(parents=True)
    submission.write()
    return submission, runs


def failures(submission):
    stored = store.read_runs(submission.folder.parents[1])
    return [one.failure and one.failure["reason"] for one in stored]


def test_what_is_sent_is_small(task):
    import pickle

    assert len(pickle.dumps(Task(str(task[0].folder), 0))) < 300
    assert Task(str(task[0].folder), 0).checkpoint().function == Task(str(task[0].folder), 0)


def test_a_restart_does_what_is_left(task, tmp_path):
    submission, runs = task
    assert list(Attempt(submission, 0).left()) == runs
    store.write_failure(tmp_path / runs[1].folder(), "broken")
    store.write_json(tmp_path / runs[0].folder() / store.RECORD, {"schema": 1, "run": runs[0].config()})
    assert list(Attempt(submission, 0).left()) == runs[2:]


def test_a_failure_of_before_the_submission_is_tried_again(task, tmp_path):
    submission, runs = task
    old = {"reason": "broken", "traceback": "", "time": "2001-01-01T00:00:00+00:00"}
    store.write_json(tmp_path / runs[1].folder() / store.FAILURE, old)
    assert list(Attempt(submission, 0).left()) == runs


def test_changed_code_is_not_run(task, tmp_path):
    submission, _ = task
    copy_code(tmp_path / "code")
    assert digest_of_code(tmp_path / "code") == submission.code
    (tmp_path / "code" / "methods" / "simclr.py").write_text("# changed")
    changed = json.loads((submission.folder / "submission.json").read_text()) | {"root": str(tmp_path / "code")}
    store.write_json(submission.folder / "submission.json", changed)
    assert not list(Attempt(records.read(submission.folder), 0).left())
    assert failures(submission) == ["the code was changed after the submission; submit again"] * 3


def test_a_damaged_configuration_fails_alone(task, tmp_path):
    submission, runs = task
    (tmp_path / runs[0].folder() / store.CONFIG).write_text('{"protocol": "quick"}')
    assert list(Attempt(submission, 0).left()) == runs[1:]
    assert "its configuration cannot be read" in failures(submission)[0]


def test_progress_decides_whether_to_go_on(task, tmp_path):
    submission, runs = task
    attempt = Attempt(submission, 0)
    assert attempt.got_on()  # too early to tell
    attempt.began = time.monotonic() - 6 * 60
    assert attempt.got_on()  # once
    assert not attempt.got_on()
    (tmp_path / runs[0].folder() / store.CHECKPOINT).touch()
    assert attempt.got_on()
    late = Attempt(submission, 0)
    late.began -= 6 * 60
    assert [late.got_on(), late.got_on()] == [True, False]
    late.give_up()
    assert failures(submission) == ["no progress in two whole time limits of 10 min"] * 3


def test_a_copy_of_the_code_knows_its_commit(tmp_path):
    copy_code(tmp_path / "code")
    kept = json.loads((tmp_path / "code" / "commit.json").read_text())
    assert set(kept) == {"commit", "dirty"}
    assert not list(tmp_path.glob(".*"))


def test_named_files_are_copied_and_keep_their_identity(run_of, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("from methods import register")
    run = run_of("simclr", plugins=[str(plugin)])
    copied = with_copied_plugins(run, tmp_path / "plugins")
    plugin.write_text("changed")
    assert (tmp_path / "plugins" / "0-mine.py").read_text() == "from methods import register"
    assert copied.plugins == (str(tmp_path / "plugins" / "0-mine.py"),)
    assert copied.folder() == run.folder()
