"""How fast methods train on this machine: measured, estimated, and beside the conventional pipeline."""
