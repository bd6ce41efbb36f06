"""What SLURM says, understood."""

import pytest

from slurm.queue import JobInfo, SlurmCommandError, expand_array_ids, parse_sacct_memory, query_jobs, run_command

SQUEUE = "7_0|RUNNING|None\n7_1|PENDING|Resources\n7_2|PENDING|BeginTime\n8|COMPLETING|None\n9_0|CANCELLED|None\n"
SACCT = """7_2|TIMEOUT|0:0|
9_0|CANCELLED by 0|0:15|
9_0.batch|CANCELLED|0:15|4512K
9_0.0|CANCELLED|0:15|1536M
9_[1-2]|CANCELLED by 0|0:0|
10|FAILED|137:0|
"""


def test_live_jobs_are_known_by_squeue_and_ended_ones_by_sacct(fake_command):
    fake_command("squeue", SQUEUE)
    fake_command("sacct", SACCT)
    answer = query_jobs(["7_0", "7_1", "7_2", "8", "9_0", "9_1", "9_2", "10", "11"])
    assert {job: state.state for job, state in answer.jobs.items()} == {
        "7_0": "RUNNING",
        "7_1": "PENDING",
        "7_2": "PENDING",
        "8": "COMPLETING",
        "9_0": "CANCELLED",
        "9_1": "CANCELLED",
        "9_2": "CANCELLED",
        "10": "FAILED",
    }
    assert answer.jobs["7_1"].reason == "Resources"
    assert answer.jobs["9_0"].peak_memory == 1536 * 2**20
    assert answer.jobs["10"].signal == 9
    assert not answer.errors


def test_without_accounting_squeue_says_what_it_remembers(fake_command):
    fake_command("squeue", SQUEUE)
    fake_command("sacct", "sacct: error: Slurm accounting storage is disabled\n", code=1)
    answer = query_jobs(["7_0", "9_0", "10"])
    assert {job: state.state for job, state in answer.jobs.items()} == {"7_0": "RUNNING", "9_0": "CANCELLED"}
    assert answer.errors == {"sacct": "Slurm accounting storage is disabled"}


def test_nobody_is_asked_about_nothing(fake_command):
    fake_command("squeue", "broken", code=1)
    assert not query_jobs([]).errors


def test_a_command_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmCommandError, match="squeue: No such file"):
        run_command("squeue")


@pytest.mark.parametrize(("code", "number"), [("0:9", 9), ("137:0", 9), ("9:0", 9), ("1:0", 0), ("0:0", 0), ("", 0)])
def test_the_signal_that_ended_a_job(code, number):
    assert JobInfo("FAILED", exit_code=code).signal == number


def test_ranges_of_arrays():
    assert list(expand_array_ids("12_[0-2,7%4]")) == ["12_0", "12_1", "12_2", "12_7"]
    assert list(expand_array_ids("12_[5]")) == ["12_5"]
    assert list(expand_array_ids("12")) == ["12"]


def test_amounts_of_memory():
    assert [parse_sacct_memory(text) for text in ("4512K", "1.5G", "10", "")] == [4512 * 1024, 1536 * 2**20, 10, 0]
