"""Every kind of plugin there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.registry import Registry
from methods.registry import registry as methods
from protocols.backbones import registry as backbones
from protocols.datasets import registry as datasets
from protocols.evaluate import registry as evaluations
from protocols.refine import registry as refinements
from results.errors import RequestError

if TYPE_CHECKING:
    from protocols.run import Run

REGISTRIES: dict[str, Registry[Any]] = {
    "methods": methods,
    "datasets": datasets,
    "backbones": backbones,
    "evaluations": evaluations,
    "refinements": refinements,
}


def know_plugins(run: Run) -> None:
    """Make the files known that register parts of a run, in a process that did not read the command line.

    Raises:
        RequestError: one is not there, or not what it was when the run was planned.
    """
    for plugin in run.plugins:
        methods.add_file(Path(plugin))
    if methods.describe(run.method.name).digest != run.method.digest:
        raise RequestError(f"{run.method.name} was changed after the run was planned", hint="give the command again")
