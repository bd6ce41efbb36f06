"""What the shell offers at <TAB>: names of plugins, protocols and runs. Never imports torch.

``bench --install-completion`` sets it up. The shell then calls ``bench`` with ``_BENCH_COMPLETE`` and the words so far.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import typer  # noqa: TC002 - typer reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable


def plugin_names(kind: str) -> Callable[[typer.Context, str], list[str]]:
    """A completion of names that are separated by commas, for the ``autocompletion`` of an option.

    Args:
        kind: key of ``protocols.spec.plugins.REGISTRIES``; plugins of ``--plugins`` are offered too.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from protocols.spec.labels import split_names
        from protocols.spec.plugins import REGISTRIES, add_files
        from results.errors import RequestError

        if incomplete.count("[") > incomplete.count("]"):
            return []  # the options of a label
        chosen, comma, _ = incomplete.rpartition(",")
        with contextlib.suppress(RequestError):  # said when the command is executed
            add_files(name for value in ctx.params.get("plugins") or () for name in split_names(value))
        taken = chosen.split(",")
        return [f"{chosen}{comma}{name}" for name in REGISTRIES[kind].names() if name not in taken]

    return complete


def protocol_names() -> list[str]:
    """Completion of the name of a protocol."""
    from protocols.spec.protocol import names

    return names()


def run_names(ctx: typer.Context) -> list[str]:
    """Completion of the name of a run in the folder that ``--runs`` or ``BENCH_RUNS`` names."""
    from results.store import run_folders

    return [folder.name for folder in run_folders(Path(ctx.params.get("runs") or "runs"))]
