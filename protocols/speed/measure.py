"""How fast a run trains on this machine, stage by stage, and against the conventional way to feed it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.loop import forward, make_batch, train_step, update
from protocols.pretrain.optimizers import build_optimizer
from protocols.spec.execution import available_cores
from protocols.spec.resolve import load_plugins
from protocols.system import randomness
from protocols.system.device import PeakMemory, choose_device, device_name, prepare_process, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Batch
    from protocols.pretrain.loop import PretrainJob
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run

T = TypeVar("T")

ROUNDS = 3
"""Both sides of a comparison are measured in turn, so often."""


@dataclass(frozen=True)
class Ratio:
    """The conventional way beside ours; seconds are those of a step of each round.

    Attributes:
        ours: seconds.
        theirs: seconds.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def times(self) -> float:
        """How many times as fast ours is: the median over rounds."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True))


@dataclass(frozen=True)
class Speed:
    """What a step of a run's pretraining costs.

    Attributes:
        batch: images in a step.
        views: views in a step.
        stages: seconds of each stage, measured apart.
        step: seconds of a whole step.
        flops: floating-point operations of a view, forward and backward.
        peak: floating-point operations a second of a large matrix product in the same precision.
        memory: most bytes used above what the process held before the run; on a GPU, of the GPU.
        precision: of the matrix products.
        device: what it ran on.
        workers: of the loader it is compared with; 0 where it is not.
        ratios: of making views and of a whole step.
    """

    batch: int
    views: int
    stages: dict[str, float]
    step: float
    flops: float
    peak: float
    memory: int
    precision: str
    device: str
    workers: int = 0
    ratios: dict[str, Ratio] = dataclasses.field(default_factory=dict)

    @property
    def views_per_second(self) -> float:
        """Of whole steps."""
        return self.views / self.step

    @property
    def share_of_peak(self) -> float:
        """Of the matrix-product peak, in [0, 1]."""
        return self.flops * self.views_per_second / self.peak


def measure(run: Run, context: ExecutionContext, *, seconds: float, against: bool) -> Speed:
    """Measure a run in a process of its own, so that its memory is its own too.

    Args:
        run: it must pretrain.
        context: where.
        seconds: to spend on each figure.
        against: compare with views made image by image in a loader with a worker for each core.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(measure_here, run, context, seconds=seconds, against=against).result()


def measure_here(run: Run, context: ExecutionContext, *, seconds: float, against: bool) -> Speed:
    """:func:`measure` in this process."""
    prepare_process()
    load_plugins(run)
    device = choose_device(context.device)
    memory, before = PeakMemory(device), resident() if device.type == "cpu" else 0
    job = temporary_job(run, context, device)
    loop = Loop(job)
    loop.step()
    step = mean_seconds(loop.step, seconds, device)
    speed = Speed(
        batch=job.budget.batch,
        views=job.budget.batch * job.budget.views,
        stages=loop.stages(seconds),
        step=step,
        flops=loop.state.flops or 0.0,
        peak=matrix_product_peak(device, job.precision),
        memory=memory.read() - before,
        precision=job.precision,
        device=device_name(device),
    )
    if not against:
        return speed
    return dataclasses.replace(speed, workers=available_cores(), ratios=compare(loop, run, context, seconds))


def temporary_job(run: Run, context: ExecutionContext, device: torch.device) -> PretrainJob:
    """The run's pretraining, ready to go, with nothing stored."""
    with tempfile.TemporaryDirectory() as folder:
        return build_job(
            run, Path(folder), load_dataset(run.dataset.name, context.data), device, reference=context.reference
        )


class Loop:
    """A training loop that is never done.

    Args:
        job: what it trains.
    """

    def __init__(self, job: PretrainJob) -> None:
        self.job = job
        self.optimizer = build_optimizer(job.method, job.pretrain)
        self.state = TrainingState(precision=job.precision)
        self.batches = endless_order(job)
        job.method.train()

    def step(self) -> None:
        """A step as in pretraining."""
        epoch, index = next(self.batches)
        self.state.step %= self.job.budget.steps
        train_step(self.job, self.optimizer, self.state, index, epoch)

    def views(self) -> Batch:
        """The views of a step."""
        epoch, index = next(self.batches)
        return make_batch(self.job, index, epoch)

    def learn(self, batch: Batch) -> None:
        """What is left of a step once there are views."""
        forward(self.job, batch)["loss"].backward()
        update(self.job, self.optimizer, 0)

    def stages(self, seconds: float) -> dict[str, float]:
        """Median seconds of each stage of a step."""
        laps: dict[str, list[float]] = {}
        device, end = self.job.images.device, time.perf_counter() + seconds
        while time.perf_counter() < end or len(laps["views"]) < ROUNDS:
            batch = timed(laps, "views", self.views, device)
            scalars = timed(laps, "forward", partial(forward, self.job, batch), device)
            timed(laps, "backward", scalars["loss"].backward, device)
            timed(laps, "update", partial(update, self.job, self.optimizer, 0), device)
        return {name: statistics.median(taken) for name, taken in laps.items()}


def endless_order(job: PretrainJob) -> Iterator[tuple[int, Tensor]]:
    """Epochs and the images of their full batches, without end."""
    for epoch in itertools.count():
        order = randomness.permutation(job.budget.images, job.seed, "order", epoch)
        full = len(order) // job.budget.batch * job.budget.batch
        yield from ((epoch, index) for index in order[:full].split(job.budget.batch))


def timed(laps: dict[str, list[float]], name: str, function: Callable[[], T], device: torch.device) -> T:
    """Note the seconds that a call takes."""
    start = time.perf_counter()
    result = function()
    synchronize(device)
    laps.setdefault(name, []).append(time.perf_counter() - start)
    return result


def synchronize(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def mean_seconds(function: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Mean seconds of a call, over calls for so many seconds."""
    function()
    synchronize(device)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or calls < ROUNDS:
        function()
        calls += 1
    synchronize(device)
    return (time.perf_counter() - start) / calls


def matrix_product_peak(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large square matrix product; the best of ten."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    laps: dict[str, list[float]] = {}
    for _ in range(10):
        timed(laps, "product", lambda: a @ b, device)
    return 2 * side**3 / min(laps["product"])


def compare(loop: Loop, run: Run, context: ExecutionContext, seconds: float) -> dict[str, Ratio]:
    """Our loop beside the same one with reference operations, fed by PIL and a loader with a worker for each core."""
    device = loop.job.images.device
    theirs = Loop(temporary_job(run, dataclasses.replace(context, reference=True), device))
    calls: dict[str, tuple[Callable[[], object], Callable[[Batch], object]]] = {
        "views": (loop.views, lambda batch: batch),
        "step": (loop.step, theirs.learn),
    }
    rounds = {
        name: [
            (mean_seconds(ours, seconds, device), mean_seconds_fed(learn, theirs.job, seconds)) for _ in range(ROUNDS)
        ]
        for name, (ours, learn) in calls.items()
    }
    return {name: Ratio(*map(tuple, zip(*taken, strict=True))) for name, taken in rounds.items()}


def mean_seconds_fed(function: Callable[[Batch], object], job: PretrainJob, seconds: float) -> float:
    """Seconds of a call and of the batch it is given, by a loader that lives only here; its first stock goes unused."""
    from protocols.speed.conventional import batches

    with contextlib.closing(batches(job, available_cores())) as loaded:
        for _ in range(2 * available_cores() + 1):
            next(loaded)
        return mean_seconds(lambda: function(next(loaded)), seconds, job.images.device)
