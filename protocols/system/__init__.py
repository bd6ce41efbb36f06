"""The machine and the process: device, compilation, provenance, randomness, progress."""
