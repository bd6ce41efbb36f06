"""Submits job arrays to SLURM, through submitit."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from typing import TYPE_CHECKING

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env

from results.errors import RequestError
from slurm.queue import SlurmCommandError, last_error_line, run_command
from slurm.submission import LOG_FOLDER
from slurm.worker import ArrayTask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurm.profile import Profile
    from slurm.submission import Submission

MAX_ARRAY_SIZE = 1000
"""Maximum number of tasks in an array: each must find its own small file within a minute of its start."""

MAX_SUBMITIT_TIMEOUTS = 10**6
"""Limit on submitit's own count of requeues. It never applies: ``slurm.worker`` decides by progress."""


class SubmissionRefused(RequestError):
    """SLURM does not accept a job."""


class Executor(submitit.SlurmExecutor):
    """Submitit's executor, which can also render its script on a machine without SLURM."""

    @classmethod
    def affinity(cls) -> int:
        """Always available: ``require_slurm`` checks for SLURM, with a better message."""
        return 2

    def render_script(self, size: int) -> str:
        """The script that sbatch receives for an array of this many tasks."""
        self.parameters["map_count"] = size if size > 1 else None
        return str(self._make_submission_file_text(self._submitit_command_str, ""))


def make_executor(
    folder: Path, root: str, profile: Profile, *, parallel: int, after: str = "", ranks: int = 1
) -> Executor:
    """The executor that submits an array.

    Args:
        folder: of the submission.
        root: folder of the copied code; empty to import the code that this process uses.
        profile: resources of each job; those left to the cluster are not passed to sbatch.
        parallel: maximum number of jobs of the array at a time; 0 for no limit.
        after: job id of an array that must end before this one starts.
        ranks: processes that share the pretraining of each run, as wanted; see ``Profile.ranks``. On several nodes
            srun starts them, on one the job's process does.
    """
    tasks = profile.ranks(ranks) // profile.nodes if profile.nodes > 1 else 1
    cpus = max(1, profile.cpus // tasks)
    # A cluster that counts GPUs as generic resources would add both requests.
    asks_for_gpus = any(name.lower() == "gres" and "gpu" in str(value) for name, value in profile.sbatch.items())
    gpus = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else profile.gpus
    resources = {
        "time": profile.time_limit_minutes,
        "partition": profile.partition,
        "gpus_per_node": 0 if asks_for_gpus else gpus,
        "cpus_per_task": cpus,
        "mem": profile.mem,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
    }
    if profile.nodes > 1:
        resources |= {"nodes": profile.nodes, "ntasks_per_node": tasks}
    # -P keeps Python from importing modules from the folder that the job starts in.
    executor = Executor(
        folder / LOG_FOLDER, max_num_timeout=MAX_SUBMITIT_TIMEOUTS, python=f"{shlex.quote(sys.executable)} -P"
    )
    executor.update_parameters(
        **{name: value for name, value in resources.items() if value},
        job_name=f"bench-{folder.name}",
        signal_delay_s=profile.stop_signal_lead_s,
        array_parallelism=parallel or MAX_ARRAY_SIZE,
        dependency=f"afterany:{after}" if after else None,
        stderr_to_stdout=True,
        wckey=None,
        setup=[
            *profile.setup,
            *([f"export PYTHONPATH={shlex.quote(root)}${{PYTHONPATH:+:$PYTHONPATH}}"] if root else []),
        ],
        # Since SLURM 22.05 srun does not inherit this option from the job.
        # If a rank ends with an error, such as when its node's memory is full, the others are not waited for.
        srun_args=[f"--cpus-per-task={cpus}", *(["--kill-on-bad-exit=1"] if profile.nodes > 1 else [])],
        # Restart the job after a node failure or a preemption, whatever the cluster's default is.
        additional_parameters={"requeue": True, **profile.sbatch},
    )
    return executor


def submit_array(executor: Executor, submission: Submission, array: int) -> str:
    """Submit the array of this index; returns SLURM's job id.

    Raises:
        SubmissionRefused: SLURM does not accept it; the files made for it are removed.
    """
    first, size = submission.arrays[array].first, submission.arrays[array].size
    tasks = [ArrayTask(str(submission.folder), index) for index in range(first, first + size)]
    before = set(executor.folder.glob("*")) | set(executor.folder.glob(".*"))
    try:
        with without_job_environment():
            jobs = executor.submit_array(tasks)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        for path in (set(executor.folder.glob("*")) | set(executor.folder.glob(".*"))) - before:
            path.unlink()
        raise refusal(error) from error
    for link in executor.folder.glob(".submission_file_*"):
        link.unlink()
    return str(jobs[0].job_id).partition("_")[0]


def refusal(error: Exception) -> SubmissionRefused:
    """The error that contains SLURM's message, and a hint that says what to do about it."""
    lines = [last_error_line(line) for line in str(error).splitlines() if "sbatch: error:" in line]
    message = "; ".join(dict.fromkeys(lines)) or last_error_line(str(error))
    hints = {
        "partition": "see: sinfo",
        "account": "see: sacctmgr show associations user=$USER",
        "requested node configuration": "ask for less --mem, --cpus or --gpus; see: sinfo -o '%P %c %m %G'",
        "time limit": "ask for less --time; see: sinfo -o '%P %l'",
        "limit": "wait until some jobs have ended, then give the same command again",
    }
    with contextlib.suppress(SlurmCommandError):
        hints["partition"] = f"there are: {', '.join(sorted(set(run_command('sinfo', '-h', '-o', '%R').split())))}"
    hint = next((hint for word, hint in hints.items() if word in message.lower()), "")
    return SubmissionRefused(f"SLURM refused the job: {message}", hint=hint)


def max_array_size() -> int:
    """The maximum number of tasks in an array on this cluster.

    Raises:
        SubmissionRefused: SLURM does not respond.
    """
    try:
        lines = run_command("scontrol", "show", "config").splitlines()
    except SlurmCommandError as error:
        raise SubmissionRefused(f"SLURM does not respond: {error.message}") from error
    sizes = [int(line.partition("=")[2]) for line in lines if line.startswith("MaxArraySize")]
    return max(1, min(*sizes, MAX_ARRAY_SIZE) if sizes else MAX_ARRAY_SIZE)


@contextlib.contextmanager
def without_job_environment() -> Iterator[None]:
    """Remove the variables of the job that this process runs in, if any; options for sbatch in variables stay."""
    preserved = {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or key.startswith("SBATCH_")}
    with clean_env():
        os.environ.update(preserved)
        yield
