"""Measures how fast a run trains on this machine, by stage, and compared with a conventional input pipeline."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
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
from protocols.pretrain.loop import forward, make_batch, prepare, train_step, update
from protocols.pretrain.optimizers import build_optimizer
from protocols.spec import execution
from protocols.spec.execution import available_cores
from protocols.spec.resolve import load_plugins
from protocols.system import randomness
from protocols.system.device import PeakMemory, choose_device, device_name, prepare_process, resident_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Batch
    from protocols.pretrain.loop import PretrainJob, StepInputs
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run

T = TypeVar("T")

GRAPH_STEPS = 4
"""Steps before the first that is measured where a CUDA graph is captured and checked in them."""

ROUNDS = 3
"""Number of times that the two sides of a comparison are measured, in turn."""


@dataclass(frozen=True)
class SpeedRatio:
    """Time of a step of this harness and of a conventional pipeline.

    Attributes:
        seconds: of a step of this harness, in each round.
        baseline_seconds: of a step of the conventional pipeline, in each round.
    """

    seconds: tuple[float, ...]
    baseline_seconds: tuple[float, ...]

    @property
    def median_round(self) -> tuple[float, float]:
        """Seconds of this harness and of the conventional pipeline in the round whose ratio is the median.

        Both are of one round, so that what slows down the whole machine for a while slows down both.
        """
        rounds = sorted(zip(self.seconds, self.baseline_seconds, strict=True), key=lambda both: both[1] / both[0])
        return rounds[(len(rounds) - 1) // 2]

    @property
    def speedup(self) -> float:
        """The conventional pipeline's time divided by this harness's, in the median round."""
        seconds, baseline_seconds = self.median_round
        return baseline_seconds / seconds


@dataclass(frozen=True)
class Speed:
    """Time, operations and memory of a step of a run's pretraining.

    Attributes:
        batch: images in a step.
        views: views in a step.
        stages: seconds of each stage, measured separately.
        step: seconds of a whole step.
        flops: floating-point operations of a view, forward and backward.
        peak: floating-point operations a second of a large matrix product in the same precision.
        memory: peak memory in bytes above what the process used before the run; on a GPU, the GPU's memory.
        precision: of the matrix products.
        device: name of the device.
        workers: of the loader in the comparison; 0 without a comparison.
        ratios: for making views and for a whole step.
        without_graph: why passes of a whole step are no CUDA graph, empty if they are; None on other devices.
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
    ratios: dict[str, SpeedRatio] = dataclasses.field(default_factory=dict)
    without_graph: str | None = None

    @property
    def views_per_second(self) -> float:
        """Views per second of whole steps."""
        return self.views / self.step

    @property
    def fraction_of_peak(self) -> float:
        """Operations per second as a fraction of the matrix-product peak, in [0, 1]."""
        return self.flops * self.views_per_second / self.peak


def measure(run: Run, context: ExecutionContext, *, seconds: float, against: bool) -> Speed:
    """Measure a run in a separate process, so that only its memory is counted.

    Args:
        run: with pretraining.
        context: data folder and device.
        seconds: to measure each number for.
        against: also measure views made image by image in a loader with one worker per core.
    """
    with ProcessPoolExecutor(1, mp_context=execution.processes) as process:
        return process.submit(measure_in_process, run, context, seconds=seconds, against=against).result()


def measure_in_process(run: Run, context: ExecutionContext, *, seconds: float, against: bool) -> Speed:
    """:func:`measure` in this process."""
    prepare_process()
    load_plugins(run)
    device = choose_device(context.device)
    memory, before = PeakMemory(device), resident_memory() if device.type == "cpu" else 0
    job = temporary_job(run, context, device)
    loop = EndlessLoop(job)
    for _ in range(1 if job.graphed is None else GRAPH_STEPS):
        loop.step()
    step = mean_seconds(loop.step, seconds, device)
    speed = Speed(
        batch=job.budget.batch,
        views=job.budget.batch * job.budget.views,
        stages=loop.stages(seconds),
        step=step,
        flops=loop.state.flops or 0.0,
        peak=matrix_product_peak(device, job.precision),
        memory=max(0, memory.read() - before),  # memory of what was there before may have been freed
        precision=job.precision,
        device=device_name(device),
        without_graph=None if job.graphed is None else job.graphed.reason,
    )
    if not against:
        return speed
    return dataclasses.replace(speed, workers=available_cores(), ratios=compare(loop, run, context, seconds))


def temporary_job(run: Run, context: ExecutionContext, device: torch.device) -> PretrainJob:
    """The run's pretraining from initial weights, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return build_job(
            run, Path(folder), load_dataset(run.dataset.name, context.data), device, reference=context.reference
        )


class EndlessLoop:
    """A training loop without end.

    Args:
        job: the pretraining.
    """

    def __init__(self, job: PretrainJob) -> None:
        self.job = job
        self.optimizer = build_optimizer(job.method, job.pretrain)
        self.state = TrainingState(precision=job.precision)
        self.batches = endless_order(job)
        self.following = next(self.batches)
        self.inputs: StepInputs | None = None
        job.method.train()

    def step(self) -> None:
        """Run one step as in pretraining, and prepare the next one's inputs."""
        (epoch, index), self.following = self.following, next(self.batches)
        self.state.step %= self.job.budget.steps
        train_step(self.job, self.optimizer, self.state, index, epoch, inputs=self.inputs)
        self.inputs = prepare(self.job, self.following[1], self.following[0])

    def views(self) -> Batch:
        """Make the views of one step, from the draws of their parameters on."""
        (epoch, index), self.following = self.following, next(self.batches)
        self.inputs = None
        return make_batch(self.job, index, epoch)

    def train_on(self, batch: Batch) -> None:
        """Forward pass, backward pass and update with given views."""
        self.job.scaler.scale(forward(self.job, batch)["loss"]).backward()
        update(self.job, self.optimizer, 0)

    def stages(self, seconds: float) -> dict[str, float]:
        """Median seconds of each stage of a step, measured for ``seconds``."""
        times: dict[str, list[float]] = {}
        device, end = self.job.images.device, time.perf_counter() + seconds
        while time.perf_counter() < end or len(times["views"]) < ROUNDS:
            batch = timed(times, "views", self.views, device)
            scalars = timed(times, "forward", partial(forward, self.job, batch), device)
            timed(times, "backward", self.job.scaler.scale(scalars["loss"]).backward, device)
            timed(times, "update", partial(update, self.job, self.optimizer, 0), device)
        return {name: statistics.median(values) for name, values in times.items()}


def endless_order(job: PretrainJob) -> Iterator[tuple[int, Tensor]]:
    """Epoch number and image indices of full batches, without end."""
    for epoch in itertools.count():
        order = randomness.permutation(job.budget.images, job.seed, "order", epoch)
        full = len(order) // job.budget.batch * job.budget.batch
        yield from ((epoch, index) for index in order[:full].split(job.budget.batch))


def timed(times: dict[str, list[float]], name: str, function: Callable[[], T], device: torch.device) -> T:
    """Call a function and append the seconds that it took to ``times[name]``."""
    start = time.perf_counter()
    result = function()
    synchronize(device)
    times.setdefault(name, []).append(time.perf_counter() - start)
    return result


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def mean_seconds(function: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Mean seconds of a call, over repeated calls for ``seconds``."""
    function()
    synchronize(device)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or calls < ROUNDS:
        function()
        calls += 1
    synchronize(device)
    return (time.perf_counter() - start) / calls


def matrix_product_peak(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large square matrix product; the best of ten."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    times: dict[str, list[float]] = {}
    for _ in range(10):
        timed(times, "product", lambda: a @ b, device)
    return 2 * side**3 / min(times["product"])


def compare(loop: EndlessLoop, run: Run, context: ExecutionContext, seconds: float) -> dict[str, SpeedRatio]:
    """Compare a loop with reference operations fed by PIL and a loader with one worker per core."""
    device = loop.job.images.device
    conventional = EndlessLoop(temporary_job(run, dataclasses.replace(context, reference=True), device))
    calls: dict[str, tuple[Callable[[], object], Callable[[Batch], object]]] = {
        "views": (loop.views, lambda batch: batch),
        "step": (loop.step, conventional.train_on),
    }
    rounds = {
        name: [
            (mean_seconds(step, seconds, device), mean_seconds_with_loader(train, conventional.job, seconds))
            for _ in range(ROUNDS)
        ]
        for name, (step, train) in calls.items()
    }
    return {name: SpeedRatio(*map(tuple, zip(*pairs, strict=True))) for name, pairs in rounds.items()}


def mean_seconds_with_loader(function: Callable[[Batch], object], job: PretrainJob, seconds: float) -> float:
    """Mean seconds to load a batch and call ``function`` with it; the batches that workers prefetch are skipped."""
    from protocols.speed.conventional import batches

    with contextlib.closing(batches(job, available_cores())) as loaded:
        for _ in range(2 * available_cores() + 1):
            next(loaded)
        return mean_seconds(lambda: function(next(loaded)), seconds, job.images.device)
