"""Sends tasks to SLURM, through submitit."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env

from results.errors import RequestError
from slurm.queue import NoAnswer, call, last_words
from slurm.submission import LOG
from slurm.worker import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurm.profile import Profile
    from slurm.submission import Array, Submission

MOST = 1000
"""Tasks in an array at most: each has to find its own small file within a minute of its start."""

FOR_EVER = 10**6
"""Time-outs that submitit lets pass: it is progress that decides whether a task goes on, see ``slurm.worker``."""


class Refused(RequestError):
    """SLURM does not take a job."""


class Executor(submitit.SlurmExecutor):
    """Submitit's, which can also show its script on a machine without SLURM."""

    @classmethod
    def affinity(cls) -> int:
        """Available: whether there is SLURM is asked elsewhere, with a better message."""
        return 2

    def script(self, size: int) -> str:
        """What sbatch is given for an array of so many tasks."""
        self.parameters["map_count"] = size if size > 1 else None
        return str(self._make_submission_file_text(self._submitit_command_str, ""))


def executor_for(folder: Path, root: str, profile: Profile, *, parallel: int, after: str = "") -> Executor:
    """What submits an array.

    Args:
        folder: of the submission.
        root: folder that a copy of the code shall be imported from; empty to import it as here.
        profile: what each job asks for.
        parallel: jobs of the array at a time, at most; 0 for no limit.
        after: id of an array that must have ended before.
    """
    # With -P the folder that the jobs begin in cannot stand in for the code.
    executor = Executor(folder / LOG, max_num_timeout=FOR_EVER, python=f"{shlex.quote(sys.executable)} -P")
    executor.update_parameters(
        **asked(profile),
        job_name=f"bench-{folder.name}",
        signal_delay_s=profile.notice,
        array_parallelism=parallel or MOST,
        dependency=f"afterany:{after}" if after else None,
        stderr_to_stdout=True,
        wckey=None,
        setup=[
            *profile.setup,
            *([f"export PYTHONPATH={shlex.quote(root)}${{PYTHONPATH:+:$PYTHONPATH}}"] if root else []),
        ],
        # Since SLURM 22.05 srun no longer takes the number from the job.
        srun_args=[f"--cpus-per-task={profile.cpus}"],
        # A node's failure and a preemption shall start the job again, even where the cluster's default is another.
        additional_parameters={"requeue": True, **profile.sbatch},
    )
    return executor


def asked(profile: Profile) -> dict[str, Any]:
    """What a profile asks for, in submitit's words; what it leaves to the cluster is not said."""
    wanted = {
        "time": profile.limit,
        "partition": profile.partition,
        "gpus_per_node": profile.gpus,
        "cpus_per_task": profile.cpus,
        "mem": profile.mem,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
    }
    return {name: value for name, value in wanted.items() if value}


def send(executor: Executor, submission: Submission, array: Array) -> str:
    """Hand an array over; returns SLURM's id of it.

    Raises:
        Refused: SLURM does not take it; nothing is left behind.
    """
    tasks = [Task(str(submission.folder), number) for number in range(array.first, array.first + array.size)]
    before = set(executor.folder.glob("*")) | set(executor.folder.glob(".*"))
    try:
        with outside_of_jobs():
            jobs = executor.submit_array(tasks)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        for path in (set(executor.folder.glob("*")) | set(executor.folder.glob(".*"))) - before:
            path.unlink()
        raise refusal(error) from error
    for link in executor.folder.glob(".submission_file_*"):
        link.unlink()
    return str(jobs[0].job_id).partition("_")[0]


def refusal(error: Exception) -> Refused:
    """SLURM's own words, and what to do about it."""
    said = [last_words(line) for line in str(error).splitlines() if "sbatch: error:" in line]
    words = "; ".join(dict.fromkeys(said)) or last_words(str(error))
    hints = {
        "partition": partitions_hint(),
        "account": "see: sacctmgr show associations user=$USER",
        "requested node configuration": "ask for less --mem, --cpus or --gpus; see: sinfo -o '%P %c %m %G'",
        "time limit": "ask for less --time; see: sinfo -o '%P %l'",
        "limit": "wait until some jobs have ended, then give the same command again",
    }
    hint = next((hint for word, hint in hints.items() if word in words.lower()), "")
    return Refused(f"SLURM refused the job: {words}", hint=hint)


def partitions_hint() -> str:
    """Which partitions there are."""
    try:
        return f"there are: {', '.join(sorted(set(call('sinfo', '-h', '-o', '%R').split())))}"
    except NoAnswer:
        return "see: sinfo"


def largest_array() -> int:
    """How many tasks an array may have here.

    Raises:
        Refused: SLURM does not answer.
    """
    try:
        lines = call("scontrol", "show", "config").splitlines()
    except NoAnswer as error:
        raise Refused(f"SLURM does not answer: {error.message}") from error
    sizes = [int(line.partition("=")[2]) for line in lines if line.startswith("MaxArraySize")]
    return max(1, min(*sizes, MOST) if sizes else MOST)


@contextlib.contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Hide that this process runs in a job itself, if it does; what the user says to sbatch by variables stays."""
    kept = {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or key.startswith("SBATCH_")}
    with clean_env():
        os.environ.update(kept)
        yield
