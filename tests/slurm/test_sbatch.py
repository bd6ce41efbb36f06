"""Submission by submitit."""

import os

from slurm.sbatch import without_job_environment


def test_a_submission_from_inside_a_job_hides_that_job(monkeypatch):
    """Its variables would be taken for options of the new one, or slow it down."""
    given = {"SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "1", "SLURM_CONF": "/there", "SBATCH_ACCOUNT": "lab"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with without_job_environment():
        assert {name for name in given if name in os.environ} == {"SLURM_CONF", "SBATCH_ACCOUNT"}
    assert {name: os.environ[name] for name in given} == given
