"""Which self-supervised method learns the better image representation, under the same conditions, and at what cost.

Everything a plugin author or a notebook needs is here, and imported on first use::

    import bench

    runs = bench.run(methods="simclr,byol", datasets="shapes", seeds="0-2")
    runs.results            # a tidy DataFrame; bench.load_runs("runs") reads it from disk
    backbone = bench.load_backbone("runs/shapes-conv4-simclr-s0-0d0d78dd")
    bench.report("runs")    # tables, figures and a page

A plugin is a class or function under ``@bench.register_method("name")`` or the decorator of its kind; CONTRIBUTING.md
has an example of each.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bench.shadowing import shadowed_package

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bench.api import export, load_backbone, load_runs, report, run
    from methods.base import Backbone, Batch, Method, RunInfo
    from methods.ema import EMA
    from methods.heads import mlp
    from methods.registry import register_method
    from protocols.datasets.base import Dataset, Source, Split, rows_of_planes, statistics
    from protocols.evaluate.retrieval import RetrievalResult
    from protocols.features.context import EvaluationContext
    from protocols.features.features import Features
    from protocols.spec.plugins import (
        register_augmentation,
        register_backbone,
        register_dataset,
        register_evaluation,
        register_figure,
        register_optimizer,
        register_refinement,
        register_schedule,
    )
    from protocols.spec.protocol import Pretrain
    from results.constraints import Above, AtLeast, AtMost, AugmentationName, Below
    from results.errors import BenchError, RequestError
    from results.figures.data import FigureData

__all__ = [
    "EMA",
    "Above",
    "AtLeast",
    "AtMost",
    "AugmentationName",
    "Backbone",
    "Batch",
    "Below",
    "BenchError",
    "Dataset",
    "EvaluationContext",
    "Features",
    "FigureData",
    "Method",
    "Pretrain",
    "RequestError",
    "RetrievalResult",
    "RunInfo",
    "Source",
    "Split",
    "export",
    "load_backbone",
    "load_runs",
    "mlp",
    "register_augmentation",
    "register_backbone",
    "register_dataset",
    "register_evaluation",
    "register_figure",
    "register_method",
    "register_optimizer",
    "register_refinement",
    "register_schedule",
    "report",
    "rows_of_planes",
    "run",
    "statistics",
]

_MODULES = {
    "bench.api": ("export", "load_backbone", "load_runs", "report", "run"),
    "methods.base": ("Backbone", "Batch", "Method", "RunInfo"),
    "methods.ema": ("EMA",),
    "methods.heads": ("mlp",),
    "methods.registry": ("register_method",),
    "protocols.datasets.base": ("Dataset", "Source", "Split", "rows_of_planes", "statistics"),
    "protocols.evaluate.retrieval": ("RetrievalResult",),
    "protocols.features.context": ("EvaluationContext",),
    "protocols.features.features": ("Features",),
    "results.constraints": ("Above", "AtLeast", "AtMost", "AugmentationName", "Below"),
    "protocols.spec.plugins": (
        "register_augmentation",
        "register_backbone",
        "register_dataset",
        "register_evaluation",
        "register_figure",
        "register_optimizer",
        "register_refinement",
        "register_schedule",
    ),
    "protocols.spec.protocol": ("Pretrain",),
    "results.errors": ("BenchError", "RequestError"),
    "results.figures.data": ("FigureData",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use; listing plugins or reading the version imports neither torch nor pandas."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if problem := shadowed_package():
        raise ImportError(problem)
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
