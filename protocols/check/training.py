"""Whole trainings: resumed against not stopped, by CUDA graphs against by operations, by two ranks against one."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from methods.registry import METHODS
from protocols.datasets.base import Split
from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import pretrain
from protocols.pretrain.worker import launch_ranks
from protocols.spec.execution import ExecutionContext
from protocols.system.device import choose_device
from protocols.system.progress import ProgressListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.datasets.base import Dataset
    from protocols.pretrain.loop import PretrainJob
    from protocols.spec.run import Run

BATCH, IMAGES, EPOCHS, STOP_AFTER = 64, 192, 2, 4
"""The resumed training: 2 epochs of 3 steps, stopped after the first step of the second epoch. The batch is not below
W-MSE's, and there are more images than DeepCluster's clusters."""

GRAPH_IMAGES = 384
"""Images of a training by graphs, 6 steps in an epoch: two are checked, four are not."""

NONDETERMINISM = 10.0
"""On a GPU whose kernels add in any order a resumed training may differ from one that was not stopped by this multiple
of what two of the latter differ by."""

ROUNDING = 1e-6
"""Difference of weights that is right in any case: of a product whose last bit depends on the stream it runs on."""

RANKS_BATCH = 32
"""Of the training by two ranks: 5 steps."""

RANKS_TOLERANCE = 3e-2
"""Largest difference of the weights of two ranks from those of one, as a fraction of what training changed."""


class StopAfter(ProgressListener):
    """Asks to stop after some steps.

    Args:
        steps: how many.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def stopping(self) -> bool:
        """Whether they are done."""
        self.steps -= 1
        return self.steps <= 0


def is_trained(run: Run) -> bool:
    """Whether a run's method has views, and is not evaluated with its initial weights."""
    method_class = METHODS.get(run.method.name)
    return bool(method_class.views(method_class.Options(**run.method.options)))


def check_resume(run: Run, data: Path, device: torch.device) -> tuple[Literal["ok", "wrong"], str]:
    """Weights of a training that was stopped and resumed, against those of one that was not."""
    run = with_budget(run, BATCH, EPOCHS)
    dataset = first_images(load_dataset(run.dataset.name, data), IMAGES)
    straight = train(run, dataset, device)
    resumed = train(run, dataset, device, stop_after=STOP_AFTER)
    if device.type == "cpu" and (difference := largest_difference(straight, resumed)):
        return "wrong", f"weights differ by {difference:.0e}; on a CPU they have to be equal"
    return judge(straight, resumed, lambda: train(run, dataset, device))


def check_graph(run: Run, data: Path, device: torch.device) -> tuple[Literal["ok", "wrong", "no"], str]:
    """Weights of a training by CUDA graphs, against those of one by operations."""
    run = with_budget(run, BATCH, EPOCHS)
    dataset = first_images(load_dataset(run.dataset.name, data), GRAPH_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        job = build_job(run, Path(folder), dataset, device)
        by_graph = trained_state(job)
    if job.graphed is not None and job.graphed.reason:
        return "no", job.graphed.reason
    return judge(train(run, dataset, device), by_graph, lambda: train(run, dataset, device))


def judge(
    expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], repeat: Callable[[], dict[str, torch.Tensor]]
) -> tuple[Literal["ok", "wrong"], str]:
    """Whether two trainings differ by no more than kernels that add in any order explain."""
    difference = largest_difference(expected, found)
    if difference == 0:
        return "ok", f"equal bit for bit after {EPOCHS} epochs"
    repeated = largest_difference(expected, repeat())
    right = difference <= max(NONDETERMINISM * repeated, ROUNDING)
    return "ok" if right else "wrong", f"weights differ by {difference:.0e}, and by {repeated:.0e} if simply repeated"


def train(run: Run, dataset: Dataset, device: torch.device, *, stop_after: int = 0) -> dict[str, torch.Tensor]:
    """The state of a method after its whole training by operations, stopped after some steps if that is not 0."""
    with tempfile.TemporaryDirectory() as folder:
        job = dataclasses.replace(build_job(run, Path(folder), dataset, device), graphs=False)
        if stop_after:
            with contextlib.suppress(KeyboardInterrupt):
                pretrain(job, StopAfter(stop_after))
            job = dataclasses.replace(build_job(run, Path(folder), dataset, device), graphs=False)
        return trained_state(job)


def trained_state(job: PretrainJob) -> dict[str, torch.Tensor]:
    """Train to the end; returns the state of the method."""
    pretrain(job, ProgressListener())
    return {name: value.cpu() for name, value in job.method.state_dict().items()}


def check_ranks(run: Run, data: Path, device: torch.device) -> tuple[Literal["ok", "wrong", "skipped"], str]:
    """Weights that two ranks train, against those that one does."""
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        return "skipped", "needs two GPUs"
    if device.type == "mps":
        return "skipped", "one device"
    settings = dataclasses.replace(run.pretrain, optimizer="sgd", optimizer_options={}, lr=0.01, warmup=0.0)
    run = with_budget(dataclasses.replace(run, pretrain=settings), RANKS_BATCH, 0.1)
    dataset, states = load_dataset(run.dataset.name, data), []
    for ranks in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            context = ExecutionContext(Path(folder), data, str(device), ranks=ranks)
            with launch_ranks(run, Path(folder), context):
                job = build_job(run, Path(folder), dataset, choose_device(str(device)))
                initial = parameters_of(job.method)
                pretrain(job, ProgressListener())
            states.append(parameters_of(job.method))
    error = float((states[1] - states[0]).norm() / (states[0] - initial).norm())
    right = error <= RANKS_TOLERANCE
    return (
        "ok" if right else "wrong",
        f"weights differ by {error:.0e} of what training changed (at most {RANKS_TOLERANCE:.0e})",
    )


def parameters_of(method: torch.nn.Module) -> torch.Tensor:
    """All parameters one after another, on the CPU in float64."""
    return torch.cat([parameter.detach().cpu().double().flatten() for parameter in method.parameters()])


def with_budget(run: Run, batch: int, epochs: float) -> Run:
    """A run with another batch and budget, in float32."""
    return dataclasses.replace(
        run,
        pretrain=dataclasses.replace(run.pretrain, batch=batch, epochs=epochs, views=None, precision="float32"),
    )


def first_images(dataset: Dataset, count: int) -> Dataset:
    """A data set with its first training images only."""
    train = Split(dataset.train.images[:count], dataset.train.labels[:count])
    return dataclasses.replace(dataset, train=train, unlabeled=None)


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference between values of two states; infinite where one is not finite."""
    differences = [
        (one[name].double() - other[name].double()).abs().nan_to_num(nan=float("inf")).amax()
        for name in one
        if one[name].numel()
    ]
    return float(torch.stack(differences).amax())
