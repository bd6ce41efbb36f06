"""Which jobs are cancelled."""

import os
from pathlib import Path

import pytest

from results.errors import RequestError
from slurm.cancel import cancel_jobs


@pytest.fixture
def scancel(fake_command):
    """One job is running, one is queued, one has ended; returns a function that lists the calls of scancel."""
    fake_command("squeue", "12_0|RUNNING|None\n12_1|PENDING|Priority\n")
    fake_command("sacct", "12_2|NODE_FAIL|0:0|\n")
    fake_command("scancel", "")
    script = Path(os.environ["PATH"].partition(":")[0]) / "scancel"
    script.write_text('#!/bin/sh\necho "$@" >> "$0.calls"\n')
    calls = script.with_name("scancel.calls")
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def test_all_active_jobs_are_cancelled(scancel, submitted_runs, tmp_path):
    assert cancel_jobs(tmp_path) == (2, 3)
    assert scancel() == ["12_0 12_1"]


def test_the_job_of_a_named_run_is_cancelled(scancel, submitted_runs, tmp_path):
    assert cancel_jobs(tmp_path, [submitted_runs[2].folder()]) == (1, 1)
    assert scancel() == ["12_1"]


def test_a_job_with_runs_that_are_not_named_is_not_cancelled(scancel, submitted_runs, tmp_path):
    with pytest.raises(RequestError, match=r"1 other runs share these jobs: .*; name them too, or cancel all"):
        cancel_jobs(tmp_path, [submitted_runs[0].folder()])
    assert not scancel()
    assert cancel_jobs(tmp_path, [run.folder() for run in submitted_runs[:2]]) == (1, 2)


def test_a_job_that_has_ended_is_not_cancelled(scancel, submitted_runs, tmp_path):
    assert cancel_jobs(tmp_path, [submitted_runs[3].folder()]) == (0, 0)
    assert not scancel()
