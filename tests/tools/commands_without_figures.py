"""Runs ``bench`` commands in one process, one after the other until one fails, with figures left empty.

Drawing would be most of the time, and figures hold no numbers that the files beside them do not::

    python tests/tools/commands_without_figures.py "run --methods simclr" "report --published"
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from matplotlib.figure import Figure

EMPTY = b"<svg xmlns='http://www.w3.org/2000/svg' width='1pt' height='1pt' viewBox='0 0 1 1'/>"


def save(self, target, *words, **options):
    """In place of ``Figure.savefig``."""
    target.write(EMPTY) if hasattr(target, "write") else Path(target).write_bytes(EMPTY)


if __name__ == "__main__":
    from bench.cli import main

    Figure.savefig = save
    Figure.draw_without_rendering = lambda self: None
    for command in sys.argv[1:]:
        sys.argv = ["bench", *shlex.split(command)]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
