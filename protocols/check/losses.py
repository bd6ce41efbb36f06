"""Loss and gradient of a method on a device against float64 by the reference operations on the CPU."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import begin_epoch, forward, make_batch
from protocols.system import randomness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from methods.base import Batch
    from protocols.pretrain.loop import PretrainJob
    from protocols.spec.run import Run
    from protocols.system.device import Precision

BATCH = 512
"""Images: so many that the compiled kernels are used."""

TOLERANCE = {"float32": (1e-4, 2e-2), "bfloat16": (0.05, 0.5), "float16": (0.05, 0.5)}
"""Largest relative error of the loss, and of the gradient as the norm of the difference over the norm."""

DRAWS = {torch.rand, torch.randn, torch.randint, torch.randperm}
DRAWS_LIKE = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}


class HostDraws(TorchFunctionMode):
    """Draws random numbers in float32 on the CPU, whatever device and type they are for; so all get the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function, or the draw and its copy."""
        kwargs = dict(kwargs or {})
        if func in DRAWS_LIKE:
            return DRAWS_LIKE[func](args[0].shape, dtype=torch.float32, device="cpu").to(args[0])
        if func in DRAWS:
            device, dtype = kwargs.pop("device", "cpu"), kwargs.pop("dtype", None)
            if func in {torch.rand, torch.randn}:
                kwargs["dtype"], dtype = torch.float32, dtype or torch.get_default_dtype()
            return func(*args, **kwargs).to(device, dtype)
        return func(*args, **kwargs)


class InFloat64(TorchFunctionMode):
    """Converts to float64 where a method converts to float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function, or its counterpart for float64."""
        if func is torch.Tensor.float:
            return args[0].double()
        double = [torch.float64 if value is torch.float32 else value for value in args]
        return func(*double, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


@dataclass(frozen=True)
class LossAndGradient:
    """A loss and its gradient.

    Attributes:
        loss: of a batch.
        gradient: of all parameters one after another, on the CPU in float64.
        state: of the method that they were computed with, float32 on the CPU.
        batch: that they were computed of, float32 on the CPU.
        exact: whether they were computed in float64; in float32 for a method that does not work in float64.
    """

    loss: float
    gradient: Tensor
    state: dict[str, Tensor]
    batch: Batch
    exact: bool


def check_loss(run: Run, data: Path, device: torch.device, precision: Precision) -> tuple[Literal["ok", "wrong"], str]:
    """Loss and gradient of a method on a device in a precision, of the same weights and views as the reference."""
    expected = reference_loss(run, data)
    job = dataclasses.replace(job_of(run, data, device), precision=precision)
    batch = on_device(expected.batch, device, torch.float32)
    while True:
        job.method.load_state_dict(expected.state)
        job.method.zero_grad()
        loss, gradient = loss_and_gradient(job, batch)
        if gradient.isfinite().all() or job.scaler.get_scale() <= 1:
            break
        job.scaler.update(job.scaler.get_scale() / 2)  # as the steps of a training in float16 do that overflow
    loss_error = abs(loss - expected.loss) / max(abs(expected.loss), 1e-6)
    gradient_error = float((gradient - expected.gradient).norm() / expected.gradient.norm().clamp(min=1e-12))
    most_loss, most_gradient = TOLERANCE[precision]
    right = loss_error <= most_loss and gradient_error <= most_gradient
    against = "float64" if expected.exact else "float32"
    errors = f"loss {loss_error:.0e}, limit {most_loss:.0e}; gradient {gradient_error:.0e}, limit {most_gradient:.0e}"
    return "ok" if right else "wrong", f"relative errors against {against}: {errors}"


_references: dict[str, LossAndGradient] = {}
"""By the fingerprint of the run."""


def reference_loss(run: Run, data: Path) -> LossAndGradient:
    """Loss and gradient by the reference operations on the CPU, computed once for all devices and precisions."""
    key = run.fingerprint()
    if key not in _references:
        job = job_of(run, data, torch.device("cpu"), reference=True)
        begin_epoch(job, 0)
        index = randomness.permutation(job.budget.images, 0, "order", 0)[:BATCH]
        batch = make_batch(job, index, 0)
        state = {name: value.clone() for name, value in job.method.state_dict().items()}
        try:
            job.method.double()
            loss, gradient = loss_and_gradient(job, on_device(batch, torch.device("cpu"), torch.float64), exact=True)
            exact = True
        except (RuntimeError, TypeError):
            job.method.float().load_state_dict(state)
            job.method.zero_grad()
            (loss, gradient), exact = loss_and_gradient(job, batch), False
        _references[key] = LossAndGradient(loss, gradient, state, batch, exact)
    return _references[key]


def job_of(run: Run, data: Path, device: torch.device, *, reference: bool = False) -> PretrainJob:
    """The pretraining of a run on digits, in batches of ``BATCH`` images, in float32."""
    pretrain = dataclasses.replace(run.pretrain, batch=BATCH, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        job = build_job(
            dataclasses.replace(run, pretrain=pretrain),
            Path(folder),
            load_dataset(run.dataset.name, data),
            device,
            reference=reference,
        )
    job.method.train()
    return job


def loss_and_gradient(job: PretrainJob, batch: Batch, *, exact: bool = False) -> tuple[float, Tensor]:
    """The loss of a batch, and its gradient of all parameters one after another, on the CPU in float64.

    Args:
        job: with the method.
        batch: of views in the type of the method's parameters.
        exact: whether that is float64.
    """
    torch.manual_seed(randomness.key(0, "step", 0))
    with HostDraws(), float64_instead() if exact else contextlib.nullcontext():
        loss = forward(job, batch)["loss"]
    job.scaler.scale(loss).backward()
    scale = job.scaler.get_scale()
    gradients = [
        (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).cpu().double().flatten() / scale
        for parameter in job.method.parameters()
        if parameter.requires_grad
    ]
    return float(loss.detach()), torch.cat(gradients)


def on_device(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """A batch on a device, its views in a type."""
    return dataclasses.replace(
        batch,
        views=batch.views.to(device, dtype),
        index=batch.index.to(device),
        labels=None if batch.labels is None else batch.labels.to(device),
        crops=tuple(crop.to(device, dtype) for crop in batch.crops),
    )


@contextlib.contextmanager
def float64_instead() -> Iterator[None]:
    """Let float64 be the type of new tensors, and what a method converts to where it converts to float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with InFloat64():
            yield
    finally:
        torch.set_default_dtype(before)
