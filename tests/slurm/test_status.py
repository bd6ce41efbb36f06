"""What is said of a run, for everything its files and SLURM may say."""

import dataclasses
import json
import os
import time

import pytest

from bench.commands.doctor import run_lines
from protocols.spec.execution import ExecutionContext
from results import store
from slurm.queue import JobInfo, QueryResult
from slurm.status import RETRY_KINDS, StatusOverview, SubmittedJob, read_status, run_status
from slurm.submission import SubmittedArray, new_submission, read_submissions
from tests.tools.damages import a_broken_link, a_device, a_folder, a_link_loop, a_pipe, empty, set_value
from tests.tools.records import empty_record


@pytest.fixture
def sent(run_of, tmp_path):
    """A run in the second job of an array."""
    run = run_of("simclr")
    folder = tmp_path / run.folder()
    folder.mkdir()
    store.write_json(folder / store.CONFIG, run.config())
    array = SubmittedArray(first=0, size=2, minutes=60, mem="4G", job="12")
    submission = new_submission(
        ExecutionContext(tmp_path, tmp_path), submission_id="one", command="bench submit", code="", root="/",
        tasks=[["other"], [run.folder()]], arrays=[array],
    )  # fmt: skip
    submission.folder.mkdir(parents=True)
    submission.save()
    return folder, SubmittedJob("12_1", array, submission)


def said(sent, job=None, **errors):
    folder, last = sent
    jobs = {"12_1": job} if job else {}
    return run_status(store.read_run(folder), last, QueryResult(jobs, errors))


def begin(folder):
    with (folder / store.ATTEMPTS).open("a") as file:
        file.write(json.dumps({"started": store.now()}) + "\n")
    mine = {"host": "elsewhere", "pid": 1, "started": ""}
    (folder / store.CLAIM).write_text(json.dumps(mine))
    beat = {"stage": "pretrain", "done": 5, "total": 10, "note": "epoch 1/2", "time": time.time()}
    store.write_json(folder / store.HEARTBEAT, {**beat, "per_second": 1.0, "seconds_left": 5.0})


def test_a_submission_is_read_as_it_was_written(sent):
    (read,) = read_submissions(sent[0].parent)
    assert read == sent[1].submission
    assert [(job, names) for job, _, names in read.accepted_jobs()] == [("12_0", ("other",)), ("12_1", (sent[0].name,))]


NO_RUNS = set_value("tasks", value=[[], ["x"]])


@pytest.mark.parametrize("damage", [empty, a_folder, a_broken_link, a_link_loop, a_pipe, a_device, NO_RUNS])
def test_a_damaged_submission_is_named(sent, caplog, damage):
    damage(sent[1].submission.folder / "submission.json")
    assert read_submissions(sent[0].parent) == []
    assert "submission.json" in caplog.text
    assert "its jobs are not shown" in caplog.text


def test_a_submission_that_is_being_made_is_passed_over(sent, caplog):
    (sent[1].submission.folder / "submission.json").unlink()
    (sent[1].submission.folder.parent / "file").touch()
    assert read_submissions(sent[0].parent) == []
    assert not caplog.text


def test_waiting(sent):
    assert said(sent, JobInfo("PENDING", "Priority")).state == "queued"
    assert said(sent, JobInfo("PENDING", "Priority")).reason == "Priority"
    begin(sent[0])
    assert said(sent, JobInfo("PENDING", "BeginTime")).state == "requeued"


def test_at_work(sent):
    state = said(sent, JobInfo("RUNNING"))
    assert (state.state, state.reason) == ("queued", "waits for the other runs of its job")
    begin(sent[0])
    state = said(sent, JobInfo("RUNNING"))
    assert (state.state, state.job, state.heartbeat["note"]) == ("running", "12_1", "epoch 1/2")
    assert said(sent, JobInfo("COMPLETING")).state == "running"


@pytest.mark.parametrize("damage", [empty, a_folder, a_broken_link, set_value("done", value="x")])
def test_a_damaged_heartbeat_is_named(sent, damage):
    begin(sent[0])
    damage(sent[0] / store.HEARTBEAT)
    state = said(sent, JobInfo("RUNNING"))
    assert (state.state, state.heartbeat) == ("running", {})
    assert store.HEARTBEAT in state.reason


def test_damaged_attempts_are_named_once(sent):
    begin(sent[0])
    with (sent[0] / store.ATTEMPTS).open("ab") as file:
        file.write(b'{"sta\n')
    state = said(sent, JobInfo("PENDING", "BeginTime"))
    assert (state.state, state.reason.count(store.ATTEMPTS)) == ("requeued", 1)
    assert state.reason.startswith("BeginTime; ")
    (_, line) = run_lines(sent[0].parent)
    assert f"{store.ATTEMPTS} is damaged: 1 of its lines" in line


ENDINGS = {
    "memory": (
        JobInfo("OUT_OF_MEMORY", peak_memory=int(3.9 * 2**30)),
        "out of memory: asked 4 GB, peaked 3.9 GB",
        "--mem 8G",
    ),
    "memory, by the kernel": (
        JobInfo("FAILED", "", "137:0", 4 * 2**30),
        "out of memory: asked 4 GB, peaked 4 GB",
        "--mem 8G",
    ),
    "killed": (JobInfo("FAILED", "", "0:9", 2**30), "killed by SIGKILL", "--retry failed"),
    "timeout": (JobInfo("TIMEOUT"), "hit its time limit of 60 min", "--retry timeout --time 120m"),
    "cancelled": (JobInfo("CANCELLED"), "cancelled", "--retry all"),
    "preempted": (JobInfo("PREEMPTED"), "preempted, and not requeued", "--retry failed"),
    "node": (JobInfo("NODE_FAIL"), "its node failed", "--retry failed"),
    "lost": (JobInfo("COMPLETED", "", "0:0"), "its job ended as COMPLETED with exit code 0:0", "12_1_0_log.out"),
    "lost, without accounting": (None, "its job has ended, and SLURM has no record of it", "--retry failed"),
}


@pytest.mark.parametrize(("kind", "job", "reason", "remedy"), [(k, *v) for k, v in ENDINGS.items()], ids=ENDINGS)
def test_endings(sent, kind, job, reason, remedy):
    begin(sent[0])
    os.utime(sent[0] / store.HEARTBEAT, (0, 0))
    state = said(sent, job)
    assert (state.state, state.kind, state.reason) == ("failed", kind.partition(",")[0], reason)
    assert remedy in state.remedy
    assert state.kind in RETRY_KINDS["all"]


def test_a_run_that_left_a_reason(sent):
    store.write_failure(sent[0], "Diverged: the loss became nan")
    for job in (JobInfo("RUNNING"), JobInfo("FAILED"), None):
        state = said(sent, job)
        assert (state.state, state.kind, state.reason) == ("failed", "error", "Diverged: the loss became nan")
    store.write_failure(sent[0], "its process was killed by SIGKILL")
    assert said(sent, JobInfo("OUT_OF_MEMORY", peak_memory=2**32)).kind == "memory"
    store.write_failure(sent[0], "no progress in a whole time limit of 60 min")
    assert said(sent, JobInfo("FAILED")).kind == "timeout"


def test_an_old_reason_does_not_count(sent):
    folder, last = sent
    store.write_failure(folder, "long ago")
    later = dataclasses.replace(last.submission, created="2999-01-01T00:00:00+00:00")
    assert said((folder, dataclasses.replace(last, submission=later)), JobInfo("PENDING")).state == "queued"


def test_while_slurm_is_silent_files_speak(sent):
    assert said(sent, squeue="down").state == "unknown"
    begin(sent[0])
    assert said(sent, squeue="down").state == "running"
    os.utime(sent[0] / store.HEARTBEAT, (0, 0))
    assert said(sent, squeue="down").state == "unknown"


def test_a_run_whose_heart_beats_is_not_lost(sent):
    begin(sent[0])
    assert said(sent).state == "running"
    assert said(sent, JobInfo("NODE_FAIL")).state == "failed"


def test_what_is_done_is_done_whatever_slurm_says(sent):
    config = store.read_json(sent[0] / store.CONFIG)
    store.write_json(sent[0] / store.RECORD, empty_record(config))
    for job in (JobInfo("RUNNING"), JobInfo("TIMEOUT"), None):
        assert said(sent, job).state == "done"
    config["evaluations"].append({**config["evaluations"][0], "label": "another", "options": {}})
    store.write_json(sent[0] / store.CONFIG, config)
    assert said(sent, JobInfo("PENDING")).state == "queued"


def test_the_keys_of_the_json_output_are_a_format(sent):
    begin(sent[0])
    written = StatusOverview([said(sent, JobInfo("RUNNING"))], {"sacct": "down"}).to_json()
    assert list(written) == ["counts", "runs", "silent"]
    states = ["done", "running", "queued", "requeued", "failed", "unreadable", "unfinished", "unknown"]
    assert written["counts"] == {state: int(state == "running") for state in states}
    assert list(written["runs"][0]) == ["run", "state", "reason", "remedy", "kind", "job", "log", "beat"]
    assert written["runs"][0]["beat"]["note"] == "epoch 1/2"
    assert json.loads(json.dumps(written)) == written


def test_runs_without_a_job(run_of, tmp_path):
    names = {}
    for seed in range(4):
        folder = tmp_path / run_of("simclr", seed).folder()
        folder.mkdir()
        store.write_json(folder / store.CONFIG, run_of("simclr", seed).config())
        names[seed] = folder
    store.write_failure(names[1], "broken")
    (names[3] / store.CONFIG).write_text("{")
    with store.claimed(names[2]):
        states = {state.run: state for state in read_status(tmp_path).runs}
    found = [states[folder.name].state for folder in names.values()]
    assert found == ["unfinished", "failed", "running", "unreadable"]
    assert states[names[1].name].reason == "broken"
    damaged = states[names[3].name]
    assert damaged.reason.endswith("config.json is damaged: it is not JSON")
    assert damaged.remedy == "the command that made it makes it again"
