"""The checks of a machine, and their results."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from protocols.check import losses, precision, speeds, training, views
from protocols.spec.grid import Request, expand
from protocols.spec.resolve import backbone_component, load_plugins
from protocols.system.device import choose_device
from results.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from protocols.spec.run import Run

Outcome = Literal["ok", "wrong", "slow", "no", "skipped"]
"""``wrong`` makes the command fail; ``no`` is a precision that the device lacks, or a method without CUDA graph."""

SHARED_METHODS = ("simclr", "byol", "relational", "supervised")
"""Methods whose training by two ranks is compared with that by one: with one network, two, many views, and labels."""

VIT = "timm:test_vit@patch=4"
"""The backbone of methods that need tokens."""


RECOMPILATIONS = 256
"""Times that a function may be compiled: for every shape and type that it meets."""


@dataclass(frozen=True)
class Check:
    """A check that is to be made.

    Attributes:
        name: what is checked.
        device: that it is checked on.
        function: makes the check; returns the outcome and the figure that decides it.
        weight: seconds that it takes on two cores, for the time left.
    """

    name: str
    device: str
    function: Callable[[], tuple[Outcome, str]]
    weight: float


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: what was checked.
        device: that it was checked on.
        outcome: whether it is right.
        figure: the number that decides it, or the reason.
        seconds: that it took.
    """

    name: str
    device: str
    outcome: Outcome
    figure: str
    seconds: float


def devices_here() -> list[torch.device]:
    """The CPU, and the accelerators of this machine that torch can use."""
    gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    mps = [torch.device("mps")] if torch.backends.mps.is_available() else []
    return [torch.device("cpu"), *gpus, *mps]


def plan_checks(
    methods: Sequence[str], plugins: Sequence[str], data: Path, device: str = "", *, seconds: float = 2.0
) -> list[Check]:
    """The checks of a machine, in the order in which they are made.

    Args:
        methods: labels, or Python files that register some; empty for all that are registered.
        plugins: Python files that register anything.
        data: folder of the data sets.
        device: to check; empty for all of the machine.
        seconds: to measure each speed for.

    Raises:
        RequestError: there is no such method, plugin or device.
    """
    allow_recompilation()
    runs = runs_of(methods, plugins, data)
    chosen = [choose_device(device)] if device else devices_here()
    checks = []
    for one in chosen:
        checks += [
            Check(f"{name} products", str(one), partial(precision.check_products, one, name), 1.0)
            for name in precision.PRECISIONS
        ]
        checks.append(Check("views", str(one), partial(views.check_views, runs[0], one), 6.0))
        for run in runs:
            label = run.method.label
            checks += [
                Check(f"{label}: {name}", str(one), partial(losses.check_loss, run, data, one, name), 1.5)
                for name in precision.training_precisions(one)
            ]
            checks.append(Check(f"{label}: resume", str(one), partial(training.check_resume, run, data, one), 3.0))
            if one.type == "cuda":
                checks.append(Check(f"{label}: graph", str(one), partial(training.check_graph, run, data, one), 4.0))
        for run in runs:
            if run.method.name in SHARED_METHODS:
                function = partial(training.check_ranks, run, data, one)
                checks.append(Check(f"{run.method.label}: two ranks", str(one), function, 12.0))
        checks += [
            Check(f"speed of {expected.name}", str(one), partial(speeds.check_speed, expected, data, one, seconds), 5.0)
            for expected in speeds.expected_speeds(one)
        ]
    return checks


def allow_recompilation() -> None:
    """Let torch compile a function for every method and precision in one process, instead of giving up after eight."""
    from torch._dynamo import config

    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before torch 2.7
    setattr(config, limit, RECOMPILATIONS)


def runs_of(methods: Sequence[str], plugins: Sequence[str], data: Path) -> list[Run]:
    """A run of each method that is trained, on digits; with a small ViT for those that need tokens.

    Raises:
        RequestError: there is no such method or plugin.
    """
    from protocols.spec.plugins import METHODS

    names = list(methods) or [entry.name for entry in METHODS.entries() if not entry.error]
    runs = []
    for run in expand(Request(methods=names, datasets=["digits"], seeds=[0], plugins=plugins), data):
        load_plugins(run)
        uses_tokens = METHODS.get(run.method.name).uses_tokens
        runs.append(replace(run, backbone=backbone_component(VIT)) if uses_tokens else run)
    return [run for run in runs if training.is_trained(run)]


def make(check: Check) -> CheckResult:
    """Make a check; one that raises an error is wrong."""
    start = time.monotonic()
    try:
        outcome, figure = check.function()
    except BenchError as error:
        outcome, figure = "wrong", str(error)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with this machine is what is to be found
        first = (str(error).strip() or "no message").splitlines()[0]
        outcome, figure = "wrong", f"{type(error).__name__}: {first}"
    return CheckResult(check.name, check.device, outcome, figure, time.monotonic() - start)
