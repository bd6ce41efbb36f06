"""Which runs are submitted."""

import json

import pytest

from results import store
from results.errors import RequestError
from slurm.selection import exclude_active, select_retries


@pytest.fixture
def ended(fake_command):
    fake_command("squeue", "")
    fake_command("sacct", "12_0|NODE_FAIL|0:0|\n12_1|TIMEOUT|0:0|\n12_2|CANCELLED by 0|0:15|\n")


@pytest.mark.parametrize(("which", "selected"), [("failed", [0, 1]), ("timeout", [2]), ("all", [0, 1, 2, 3])], ids=str)
def test_retries_are_selected_by_the_kind_of_failure(ended, submitted_runs, tmp_path, which, selected):
    names = {run.folder() for run in select_retries(which, tmp_path)}
    assert names == {submitted_runs[index].folder() for index in selected}


def test_a_selected_run_is_the_run_that_was_submitted(ended, submitted_runs, tmp_path):
    (run,) = select_retries("timeout", tmp_path)
    assert run.config() == submitted_runs[2].config()


def test_a_run_whose_configuration_is_damaged_does_not_hold_up_the_others(ended, submitted_runs, tmp_path):
    (tmp_path / submitted_runs[0].folder() / store.CONFIG).write_text("{")
    (run,) = select_retries("failed", tmp_path)
    assert run.folder() == submitted_runs[1].folder()


def test_an_unknown_selection_is_refused(tmp_path):
    with pytest.raises(RequestError, match="--retry some; choose failed, timeout, all"):
        select_retries("some", tmp_path)


def test_queued_and_running_runs_are_excluded_and_claims_of_ended_jobs_removed(fake_command, submitted_runs, tmp_path):
    fake_command("squeue", "12_0|RUNNING|None\n12_1|PENDING|Priority\n")
    fake_command("sacct", "12_2|NODE_FAIL|0:0|\n")
    claims = {}
    for run, job in ((submitted_runs[0], "12_0"), (submitted_runs[3], "12_2")):
        claims[job] = tmp_path / run.folder() / store.CLAIM
        claims[job].write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "", "job": job, "restart": 0}))
    assert exclude_active(submitted_runs, tmp_path) == submitted_runs[3:]
    assert [job for job, claim in claims.items() if claim.exists()] == ["12_0"]


def test_nothing_is_selected_while_slurm_does_not_respond(fake_command, submitted_runs, tmp_path):
    fake_command("squeue", "squeue: error: Unable to contact slurm controller\n", code=1)
    fake_command("sacct", "")
    with pytest.raises(RequestError, match="SLURM does not respond: Unable to contact slurm controller; try again"):
        exclude_active(submitted_runs, tmp_path)
