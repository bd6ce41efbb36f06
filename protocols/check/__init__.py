"""Checks of a machine: whether what its devices compute is what the reference operations compute on a CPU."""
