"""Launchers: execute runs in this process, in worker processes or on a SLURM cluster; submit, retry and cancel them."""
