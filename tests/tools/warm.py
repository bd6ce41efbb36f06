"""Imports what nearly every run imports, and compiles what nearly every run compiles; see ``forked``."""

import contextlib
import importlib
import io

import matplotlib as mpl
import torch

from protocols.augment.augmenter import MIN_COMPILE_NUMEL
from protocols.augment.colour_jitter import compiled_jitter
from protocols.spec.plugins import REGISTRIES
from protocols.system.compiled import compilation_works
from protocols.system.device import disable_tf32

mpl.use("Agg")
for name in ("seaborn", "sklearn.datasets", "timm", "torch._dynamo", "torch._inductor.compile_fx"):
    importlib.import_module(name)
for name in ("bench.cli", "protocols.check.preflight", "protocols.runner", "results.report"):
    importlib.import_module(name)
for registry in REGISTRIES.values():
    _ = registry._built_in  # reads the source of every module that registers something; packages may come later
with contextlib.redirect_stdout(io.StringIO()):  # typer imports pydantic when it first reads options
    importlib.import_module("bench.cli").app(["status", "--help"], standalone_mode=False)

disable_tf32()  # as every run does: a compiled function is compiled again where that differs
if compilation_works():
    views = torch.rand(MIN_COMPILE_NUMEL // (3 * 32**2) + 1, 32, 3, 32)
    for mode in (torch.enable_grad(), torch.inference_mode()):
        with mode:
            compiled_jitter(views.clone(), torch.zeros(len(views), dtype=torch.int64), torch.ones(len(views)))
