"""Training speed beside what to expect of the device."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from protocols.check.views import coloured_images
from protocols.datasets.base import Dataset, Split
from protocols.pretrain.build import build_job
from protocols.spec.execution import available_cores
from protocols.spec.grid import Request, expand
from protocols.speed.measure import EndlessLoop, mean_seconds
from protocols.system.device import device_name

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ExpectedSpeed:
    """A training of which the speed is known, or estimated.

    Attributes:
        name: method, backbone and batch.
        device: ``cpu``, or a part of the name of a GPU; empty for any GPU.
        backbone: that is trained by SimCLR, on images of 32×32 pixels.
        batch: images a step.
        views: a second; on a CPU, for each core; 0 where nothing is known.
        source: where the number comes from.
    """

    name: str
    device: str
    backbone: str
    batch: int
    views: int
    source: str


EXPECTED = (
    ExpectedSpeed("simclr, conv4, batch 256", "cpu", "conv4", 256, 5000, "measured on 2 cores of an AMD EPYC"),
    ExpectedSpeed("simclr, resnet18, batch 512", "H200", "timm:resnet18@small", 512, 60_000, "estimated, not measured"),
    ExpectedSpeed("simclr, resnet18, batch 512", "H100", "timm:resnet18@small", 512, 45_000, "estimated, not measured"),
    ExpectedSpeed("simclr, resnet18, batch 512", "", "timm:resnet18@small", 512, 0, "not known for this GPU"),
)
"""What to expect; of the lines for GPUs, the first that fits."""

SLOW = 0.5
"""A fraction of the expected speed below which a line says so; other work on the machine takes its part too."""


def expected_speeds(device: torch.device) -> list[ExpectedSpeed]:
    """What is measured on a device."""
    if device.type == "cpu":
        return [expected for expected in EXPECTED if expected.device == "cpu"]
    name = device_name(device)
    return [next(expected for expected in EXPECTED if expected.device != "cpu" and expected.device in name)]


def check_speed(
    expected: ExpectedSpeed, data: Path, device: torch.device, seconds: float
) -> tuple[Literal["ok", "slow"], str]:
    """Views a second of whole steps of training, measured for some seconds."""
    request = Request(
        methods=["simclr"],
        datasets=["digits"],
        backbones=[expected.backbone],
        seeds=[0],
        settings=[f"pretrain.batch={expected.batch}"],
    )
    (run,) = expand(request, data)
    split = Split(coloured_images(2 * expected.batch, 32).numpy(), np.zeros(2 * expected.batch, np.int64))
    dataset = Dataset("noise", ("noise",), (0.5,) * 3, (0.25,) * 3, split, split)
    with tempfile.TemporaryDirectory() as folder:
        loop = EndlessLoop(build_job(run, Path(folder), dataset, device))
    loop.step()
    views = 2 * expected.batch / mean_seconds(loop.step, seconds, device)
    cores = available_cores() if device.type == "cpu" else 1
    aim = expected.views * cores
    measured = f"{views:,.0f} views/s in {loop.job.precision}"
    if not aim:
        return "ok", f"{measured}; what to expect is {expected.source}"
    outcome: Literal["ok", "slow"] = "ok" if views >= SLOW * aim else "slow"
    return outcome, f"{measured}; expected {aim:,} ({expected.source})"
