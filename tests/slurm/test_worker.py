"""What a job decides on its node."""

import json
import time

import pytest

from protocols.spec.execution import ExecutionContext
from results import store
from slurm.snapshot import code_digest, code_root, copy_code
from slurm.submission import SubmittedArray, new_submission, read_submission
from slurm.worker import ArrayTask, TaskAttempt
from tests.tools.records import empty_record


@pytest.fixture
def task(run_of, tmp_path):
    """Three runs in one job, none begun."""
    runs = [run_of("random", seed) for seed in range(3)]
    for run in runs:
        (tmp_path / run.folder()).mkdir()
        store.write_json(tmp_path / run.folder() / store.CONFIG, run.config())
    submission = new_submission(
        ExecutionContext(tmp_path, tmp_path), submission_id="one", command="bench submit",
        code=code_digest(code_root()), root=str(code_root()), tasks=[[run.folder() for run in runs]],
        arrays=[SubmittedArray(0, 1, minutes=10, job="1")],
    )  # fmt: skip
    submission.folder.mkdir(parents=True)
    submission.save()
    return submission, runs


def failures(submission):
    stored = store.read_runs(submission.folder.parents[1])
    return [one.failure and one.failure["reason"] for one in stored]


def test_what_is_sent_is_small(task):
    import pickle

    assert len(pickle.dumps(ArrayTask(str(task[0].folder), 0))) < 300
    assert ArrayTask(str(task[0].folder), 0).checkpoint().function == ArrayTask(str(task[0].folder), 0)


def test_a_restart_does_what_is_left(task, tmp_path):
    submission, runs = task
    assert list(TaskAttempt(submission, 0).remaining_runs()) == runs
    store.write_failure(tmp_path / runs[1].folder(), "broken")
    store.write_json(tmp_path / runs[0].folder() / store.RECORD, empty_record(runs[0].config()))
    assert list(TaskAttempt(submission, 0).remaining_runs()) == runs[2:]


def test_a_failure_of_before_the_submission_is_tried_again(task, tmp_path):
    submission, runs = task
    old = {"reason": "broken", "traceback": "", "time": "2001-01-01T00:00:00+00:00"}
    store.write_json(tmp_path / runs[1].folder() / store.FAILURE, old)
    assert list(TaskAttempt(submission, 0).remaining_runs()) == runs


def test_changed_code_is_not_run(task, tmp_path):
    submission, _ = task
    copy_code(tmp_path / "code")
    assert code_digest(tmp_path / "code") == submission.code
    (tmp_path / "code" / "methods" / "simclr.py").write_text("# changed")
    changed = json.loads((submission.folder / "submission.json").read_text()) | {"root": str(tmp_path / "code")}
    store.write_json(submission.folder / "submission.json", changed)
    assert not list(TaskAttempt(read_submission(submission.folder), 0).remaining_runs())
    assert failures(submission) == ["the code was changed after the submission; submit again"] * 3


def test_a_damaged_configuration_fails_alone(task, tmp_path):
    submission, runs = task
    (tmp_path / runs[0].folder() / store.CONFIG).write_text('{"protocol": "quick"}')
    assert list(TaskAttempt(submission, 0).remaining_runs()) == runs[1:]
    assert "its configuration cannot be read" in failures(submission)[0]


def test_progress_decides_whether_to_requeue(task, tmp_path, monkeypatch):
    submission, runs = task
    attempt = TaskAttempt(submission, 0)
    assert attempt.should_requeue()  # too early to tell
    attempt.start_time = time.monotonic() - 6 * 60
    assert attempt.should_requeue()  # once
    assert not attempt.should_requeue()
    (tmp_path / runs[0].folder() / store.CHECKPOINT).touch()
    assert attempt.should_requeue()
    late = TaskAttempt(submission, 0)
    late.start_time -= 6 * 60
    assert [late.should_requeue(), late.should_requeue()] == [True, False]
    monkeypatch.setattr("slurm.worker.current_job_state", lambda: "REQUEUED")
    with pytest.raises(SystemExit):
        late.stop_job(requeue=None)
    assert failures(submission) == [None] * 3  # SLURM starts the job again in any case
    monkeypatch.setattr("slurm.worker.current_job_state", lambda: "RUNNING")
    with pytest.raises(SystemExit):
        late.stop_job(requeue=None)
    assert failures(submission) == ["no progress in two whole time limits of 10 min"] * 3
