"""The training loop of all methods."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from methods.base import Batch, Method
from protocols.augment.parameters import ViewParameters
from protocols.backbones.inference import extract_features
from protocols.datasets.device_images import HostImages
from protocols.pretrain import data_parallel, process_group
from protocols.pretrain.checkpoint import CheckpointTimer, TrainingState, load
from protocols.pretrain.optimizers import apply_schedules, build_optimizer, clip_gradients
from protocols.pretrain.schedules import learning_rate
from protocols.pretrain.step_graph import GraphedPasses
from protocols.system import randomness
from protocols.system.device import EnergyMeter, PeakMemory, views_dtype
from protocols.system.transfer import Transfer
from results.errors import DamagedFile, Diverged, ForeignFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from methods.base import Backbone
    from protocols.augment.augmenter import Augmenter
    from protocols.datasets.device_images import DeviceImages
    from protocols.spec.budget import Budget
    from protocols.spec.protocol import Pretrain
    from protocols.system.device import Precision
    from protocols.system.progress import ProgressListener

HISTORY_KEYS = ("epoch", "lr", "log_prototypes", "views", "seconds", "knn_top1")
"""Of a line of the history, beside the loss and the method's other scalars."""


@dataclass(frozen=True)
class PretrainJob:
    """Everything that a pretraining needs.

    Attributes:
        method: on its device, in training mode.
        compute_loss: the method, or the wrapper that averages its gradients over ranks.
        views: name of the augmentation of each view.
        augmenters: by the name of the augmentation.
        normalise: makes network input of images that are not augmented.
        images: of the training split.
        labels: (n,) int64 on the device, for a method that uses them.
        budget: number of steps, images and views.
        pretrain: optimizer, schedule, batch.
        seed: of the run.
        precision: of the matrix products.
        checkpoint: path of the checkpoint.
        owner: fingerprint of the run, which the checkpoint belongs to.
        measure: measures the backbone every ``knn_every`` epochs, if that is set; its numbers are added to the history.
        scaler: multiplies the loss by a large factor in float16, so that small gradients are not rounded to zero, and
            leaves out the update where a gradient overflows; does nothing in other precisions. Whether one did the
            fused optimizers find out on the GPU; for ``lars`` and those of plugins the host waits.
        graphs: whether CUDA graphs may be used.
        graphed: computes forward and backward pass by a CUDA graph if possible; None without CUDA or with other ranks.
    """

    method: Method
    compute_loss: Callable[[Batch], dict[str, Tensor]]
    views: tuple[str, ...]
    augmenters: dict[str, Augmenter]
    normalise: Callable[[Tensor], Tensor]
    images: DeviceImages
    labels: Tensor | None
    budget: Budget
    pretrain: Pretrain
    seed: int
    precision: Precision
    checkpoint: Path
    owner: str = ""
    measure: Callable[[Backbone], dict[str, float]] | None = None
    graphs: bool = True
    scaler: torch.amp.GradScaler = field(init=False)
    graphed: GraphedPasses | None = field(init=False)

    def __post_init__(self) -> None:
        scaler = torch.amp.GradScaler(self.images.device.type, enabled=self.precision == "float16")
        object.__setattr__(self, "scaler", scaler)
        graphed = self.graphs and self.images.device.type == "cuda" and process_group.world_size() == 1
        object.__setattr__(self, "graphed", GraphedPasses(self.method) if graphed else None)


def pretrain(job: PretrainJob, listener: ProgressListener) -> TrainingState:
    """Train until the budget is spent; resumes from the last checkpoint if there is one.

    Raises:
        Diverged: an epoch's mean loss is not finite, or representations that are measured are not.
        KeyboardInterrupt: ``listener`` asked to stop; the state is saved.
    """
    optimizer = build_optimizer(job.method, job.pretrain)
    state = restore(job, optimizer, listener)
    job = as_begun(job, state)
    method, budget, device = job.method, job.budget, job.images.device
    seconds_before, start, timer, memory = state.seconds, time.monotonic(), CheckpointTimer(), PeakMemory(device)
    energy_before, energy = state.energy, EnergyMeter(device, process_group.world_size())
    method.train()
    listener.stage("compiling", 1)
    first = state.step
    while state.step < budget.steps:
        epoch, batch_slice = budget.locate(state.step)
        if batch_slice.start == 0:
            begin_epoch(job, epoch)
        order = randomness.permutation(budget.images, job.seed, "order", epoch)
        end = min(budget.steps, (epoch + 1) * budget.steps_per_epoch)
        inputs: StepInputs | None = None
        for step in range(state.step, end):
            index = order[budget.locate(step)[1]]
            for later in range(step + 1, min(step + 3, end)):
                prefetch(job, order[budget.locate(later)[1]])
            train_step(job, optimizer, state, index, epoch, inputs=inputs)
            # On a GPU the step is only queued by now: the next one's inputs are made and copied while it runs.
            inputs = prepare(job, order[budget.locate(step + 1)[1]], epoch) if step + 1 < end else None
            report_step(listener, state, budget, is_first=step == first)
            stopping = listener.stopping()
            state.seconds = seconds_before + time.monotonic() - start
            if state.step == end:
                end_epoch(state, epoch, learning_rate(job.pretrain, end / budget.steps), method.log_prototypes)
                if job.measure and job.pretrain.knn_every and (epoch + 1) % job.pretrain.knn_every == 0:
                    paused = time.monotonic()
                    state.history[-1] |= job.measure(method.encoder)
                    start += time.monotonic() - paused  # it is no part of what training takes
                listener.epoch_end(state.history[-1])
            if stopping or (timer.due() and process_group.rank() == 0):
                state.peak_memory = max(state.peak_memory, memory.read())
                state.scaler = job.scaler.state_dict()
                state.energy = total_energy(energy_before, energy.read(), seconds_before)
                content = {"method": method.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(state)}
                timer.save(job.checkpoint, content, job.owner)
            if stopping:
                raise KeyboardInterrupt
    state.peak_memory = max(state.peak_memory, memory.read())
    state.energy = total_energy(energy_before, energy.read(), seconds_before)
    return state


def restore(job: PretrainJob, optimizer: torch.optim.Optimizer, listener: ProgressListener) -> TrainingState:
    """Load the last checkpoint into method and optimizer; returns a new state if there is none, or it is damaged.

    Raises:
        ForeignFile: the checkpoint belongs to another run.
    """
    try:
        saved = load(job.checkpoint, job.images.device, job.owner, listener.warn)
    except DamagedFile as error:
        listener.warn(f"{error}; training starts again from its beginning")
        saved = None
    if saved is None:
        return TrainingState(precision=job.precision, flops=job.budget.flops_per_view, steps=job.budget.steps)
    try:
        state = TrainingState(**saved["progress"])
        job.method.load_state_dict(saved["method"])
        optimizer.load_state_dict(saved["optimizer"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise foreign_checkpoint(job) from error
    if state.step > (state.steps or job.budget.steps):
        raise foreign_checkpoint(job)
    return state


def as_begun(job: PretrainJob, state: TrainingState) -> PretrainJob:
    """The job with the precision, the number of steps and the scaler that a resumed run began with."""
    budget = dataclasses.replace(job.budget, steps=state.steps or job.budget.steps)
    if (state.precision, budget) != (job.precision, job.budget):
        job = dataclasses.replace(job, precision=state.precision, budget=budget)
        for augmenter in job.augmenters.values():
            augmenter.set_dtype(views_dtype(job.precision, job.images.device))
    if state.scaler:
        job.scaler.load_state_dict(state.scaler)
    return job


def foreign_checkpoint(job: PretrainJob) -> ForeignFile:
    """The error for a checkpoint without a seal that does not fit the run."""
    return ForeignFile(f"{job.checkpoint} belongs to another run", hint="delete it; the same command trains again")


def begin_epoch(job: PretrainJob, epoch: int) -> None:
    """Call the method's ``before_epoch``, with a function that extracts features of the pretraining split."""
    torch.manual_seed(randomness.key(job.seed, "epoch", epoch))
    images = job.images

    def extract() -> Tensor:
        """Each rank computes its part of the images."""
        stored = images.stored[process_group.local_slice(len(images))]
        return data_parallel.gather_rows(
            extract_features(job.method.backbone, stored, job.normalise, images.device), 1, len(images)
        )

    job.method.before_epoch(epoch, extract)
    if job.graphed is not None:
        job.graphed.begin_epoch()


def prefetch(job: PretrainJob, index: Tensor) -> None:
    """Start reading the images of a later batch (b,), unless the method chooses other images for its views."""
    if not chooses_images(job.method):
        job.images.prefetch(index[process_group.local_slice(len(index))])


def chooses_images(method: Method) -> bool:
    """Whether a method overrides ``source_indices``, so that views may show other images than those of the batch."""
    return getattr(method.source_indices, "__func__", None) is not Method.source_indices


@dataclass(frozen=True)
class StepInputs:
    """What a step takes from the host, on its way to the device.

    Attributes:
        augmentations: the augmentation and the number of views of each group of views.
        transfer: index, images and positions among them if the method shows the batch's images and these lie on the
            host, then the parameters of each group of views.
        carries_images: whether images and positions are part of it.
    """

    augmentations: tuple[tuple[str, int], ...]
    transfer: Transfer
    carries_images: bool


def prepare(job: PretrainJob, index: Tensor, epoch: int) -> StepInputs:
    """Draw a batch's parameters and start to copy what its step takes from the host: one copy, and one of images.

    Nothing here depends on the method's weights or on earlier steps; random parameters do not depend on the method.
    """
    key = randomness.key(job.seed, "views", epoch)
    local = process_group.local_slice(len(index))
    side = job.images.stored.shape[1]
    tensors = [index]
    carries_images = isinstance(job.images, HostImages) and not chooses_images(job.method)
    if carries_images:
        tensors += job.images.read(index[local])
    augmentations = []
    for augmentation, group in itertools.groupby(range(len(job.views)), key=job.views.__getitem__):
        view_numbers = [*group]
        rows = np.concatenate([index.numpy()[local] + number * 2**40 for number in view_numbers])
        augmenter = job.augmenters[augmentation]
        tensors += augmenter.draw(randomness.uniforms(key, rows, augmenter.columns), side).tensors()
        augmentations.append((augmentation, len(view_numbers)))
    return StepInputs(tuple(augmentations), Transfer(tensors, job.images.device), carries_images)


def train_step(
    job: PretrainJob,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    index: Tensor,
    epoch: int,
    *,
    inputs: StepInputs | None = None,
) -> None:
    """One step: views, loss, gradients, update. The first also counts floating-point operations if none did before.

    Args:
        job: the pretraining.
        optimizer: of the method's parameters.
        state: brought up to date.
        index: (b,) images of the batch, on the CPU.
        epoch: number of the epoch.
        inputs: of this batch, if they were prepared before.
    """
    torch.manual_seed(randomness.key(job.seed, "step", state.step))
    batch = make_batch(job, index, epoch, inputs)
    views = len(index) * job.budget.views
    if state.flops is not None:
        scalars = compute_gradients(job, batch)
    else:
        with FlopCounterMode(display=False) as counter:
            scalars = forward_and_backward(job, batch)
        state.flops = data_parallel.total(counter.get_total_flops(), job.images.device) / views
    update(job, optimizer, state.step)
    state.step += 1
    state.views += views
    state.images += len(index)
    for name, value in scalars.items():
        state.sums[name] = state.sums.get(name, 0.0) + value * len(index)


def make_batch(job: PretrainJob, index: Tensor, epoch: int, inputs: StepInputs | None = None) -> Batch:
    """All views of the images at ``index``, (b,) on the CPU; ``inputs`` as in :func:`train_step`."""
    inputs = inputs or prepare(job, index, epoch)
    local = process_group.local_slice(len(index))
    received = iter(inputs.transfer.result())
    device_index = next(received)
    if inputs.carries_images:
        images, positions = next(received), next(received).expand(len(job.views), -1)
    else:
        images, positions = read_images(job, job.method.source_indices(device_index, len(job.views))[:, local])
    parts, first = [], 0
    for augmentation, count in inputs.augmentations:
        parameters = ViewParameters(*itertools.islice(received, len(fields(ViewParameters))))
        shown = positions[first : first + count].flatten()
        views = job.augmenters[augmentation].make_views(images, shown, parameters)
        parts.append(data_parallel.local_views(views, count, len(index)))
        first += count
    labels = None if job.labels is None else job.labels.index_select(0, device_index)
    full, *crops = concatenate_by_size(parts)
    return Batch(full, device_index, labels, tuple(crops))


def read_images(job: PretrainJob, index: Tensor) -> tuple[Tensor, Tensor]:
    """Images on the device that a method chose there, and the positions among them of an ``index`` of any shape.

    Where images lie on the host, it has to wait for the choice.
    """
    if isinstance(job.images, HostImages):
        images, positions = Transfer(job.images.read(index.cpu()), job.images.device).result()
        return images, positions
    return job.images.read(index)


def concatenate_by_size(parts: list[Tensor]) -> list[Tensor]:
    """Concatenate views of equal size; sizes are in the order of their first view."""
    sizes = dict.fromkeys(part.shape[-1] for part in parts)
    groups = [[part for part in parts if part.shape[-1] == size] for size in sizes]
    return [torch.cat(group) if len(group) > 1 else group[0] for group in groups]


def compute_gradients(job: PretrainJob, batch: Batch) -> dict[str, Tensor]:
    """Both passes, by a CUDA graph if possible; returns the method's loss and scalars, without gradients."""
    if job.graphed is None:
        return forward_and_backward(job, batch)
    return job.graphed(batch, partial(forward_and_backward, job))


def forward_and_backward(job: PretrainJob, batch: Batch) -> dict[str, Tensor]:
    """Both passes, operation by operation; returns the method's loss and scalars, without gradients."""
    scalars = forward(job, batch)
    job.scaler.scale(scalars["loss"]).backward()
    return {name: value.detach() for name, value in scalars.items()}


def forward(job: PretrainJob, batch: Batch) -> dict[str, Tensor]:
    """The method's loss and scalars, in the job's precision."""
    dtype = torch.float16 if job.precision == "float16" else torch.bfloat16
    capturing = batch.views.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    # Weights that were rounded before a graph was captured would not be rounded anew when it is replayed.
    autocast = torch.autocast(
        batch.views.device.type, dtype, enabled=job.precision != "float32", cache_enabled=not capturing
    )
    with autocast, data_parallel.shared_batch(len(batch.index)):
        return job.compute_loss(batch)


def update(job: PretrainJob, optimizer: torch.optim.Optimizer, step: int) -> None:
    """The optimizer's step number ``step``, counted from 0, then the method's ``after_step``."""
    apply_schedules(optimizer, job.pretrain, step / job.budget.steps)
    if job.pretrain.max_grad_norm is not None:
        job.scaler.unscale_(optimizer)
        clip_gradients(optimizer, job.pretrain.max_grad_norm)
    job.scaler.step(optimizer)
    job.scaler.update()
    optimizer.zero_grad()
    job.method.after_step((step + 1) / job.budget.steps)


def end_epoch(state: TrainingState, epoch: int, rate: float, log_prototypes: float | None = None) -> None:
    """Add the epoch's means to the history; the only place that synchronizes with the device.

    Raises:
        Diverged: the mean loss is not finite.
    """
    means = {name: float(total) / state.images for name, total in state.sums.items()}
    if not math.isfinite(means["loss"]):
        raise Diverged(f"the loss became {means['loss']} in epoch {epoch + 1}", hint="try a lower learning rate")
    line: dict[str, Any] = {"epoch": epoch + 1, **means, "lr": rate}
    if log_prototypes is not None:
        line["log_prototypes"] = log_prototypes
    state.history.append({**line, "views": state.views, "seconds": state.seconds})
    state.sums, state.images = {}, 0


def total_energy(before: float | None, here: float | None, seconds_before: float) -> float | None:
    """Joules of all attempts; None unless all of them are known."""
    if here is None or (before is None and seconds_before):
        return None
    return (before or 0.0) + here


def report_step(listener: ProgressListener, state: TrainingState, budget: Budget, *, is_first: bool) -> None:
    """Report a step; the first of a process ends the stage in which operations are compiled and caches are filled."""
    if is_first:
        listener.stage("pretrain", budget.total_views)
    listener.progress(state.views, progress_note(state, budget))


def progress_note(state: TrainingState, budget: Budget) -> str:
    """The text beside a progress bar: epoch, losses, held-out kNN, and the method's other scalars.

    Losses and scalars are means of the epoch so far; on a GPU, which nothing here waits for, those of the last epoch.
    ln K stands beside a loss of K prototypes.
    """
    last = state.history[-1] if state.history else {}
    epochs = math.ceil(budget.steps / budget.steps_per_epoch)
    parts = [f"epoch {budget.locate(state.step - 1)[0] + 1}/{epochs}"]
    scalars = {name: value for name, value in last.items() if name not in HISTORY_KEYS}
    if isinstance(total := state.sums.get("loss"), torch.Tensor) and total.device.type == "cpu":
        scalars = {name: float(total) / state.images for name, total in state.sums.items()}
    if "loss" in scalars:
        parts.append(f"loss {scalars.pop('loss'):.4f}")
    if "log_prototypes" in last:
        parts[-1] += f" (ln K {last['log_prototypes']:.4f})"
    if knn := [line["knn_top1"] for line in state.history if "knn_top1" in line]:
        parts.append(f"kNN {knn[-1]:.1f} %")
    parts += [f"{name} {value:.4g}" for name, value in scalars.items()]
    return ", ".join(parts)
