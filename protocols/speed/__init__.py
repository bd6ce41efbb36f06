"""Training speed on this machine: measured, estimated, and compared with a conventional pipeline."""
