"""Carries runs out: in this process, in a local pool, on SLURM."""
