"""The front door: commands, the plan of a grid, progress."""

__version__ = "0.1.0"
