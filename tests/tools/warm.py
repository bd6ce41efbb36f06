"""Imports what nearly every run imports, and compiles what nearly every run compiles; see ``forked``."""

import contextlib
import importlib
import io

import matplotlib as mpl
import torch

from protocols.augment.augmenter import MIN_COMPILE_NUMEL
from protocols.augment.colour_jitter import compiled_jitter
from protocols.system.compiled import compilation_works

mpl.use("Agg")
for name in ("seaborn", "sklearn.datasets", "timm", "torch._dynamo", "torch._inductor.compile_fx"):
    importlib.import_module(name)
for name in ("bench.cli", "protocols.check.preflight", "protocols.runner", "results.report"):
    importlib.import_module(name)
with contextlib.redirect_stdout(io.StringIO()):  # typer imports pydantic when it first reads options
    importlib.import_module("bench.cli").app(["status", "--help"], standalone_mode=False)

if compilation_works():
    with torch.inference_mode():
        for count in (1, 2):
            side = 32
            views = torch.rand(count * MIN_COMPILE_NUMEL // (3 * side**2) + 1, side, 3, side)
            compiled_jitter(views, torch.zeros(len(views), dtype=torch.int64), torch.ones(len(views)))
