"""The training loop: the only one, for every method."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from methods.base import Batch, Method
from protocols import randomness, ranks, sharing
from protocols.augment.draw import COLUMNS
from protocols.checkpoint import Pace, Progress, load
from protocols.evaluate.features import represent
from protocols.hardware import PeakMemory
from protocols.optimise import clip_gradients, follow_schedules, learning_rate, optimizer_for
from results.errors import Diverged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from protocols.augment import Augmenter
    from protocols.budget import Budget
    from protocols.images import Images
    from protocols.protocol import Pretrain
    from protocols.watch import Watch


@dataclass(frozen=True)
class Job:
    """One pretraining, ready to go.

    Attributes:
        method: on its device, in training mode.
        views: recipe names of the views it wants.
        augmenters: by the name of the recipe.
        normalise: makes network input of images as they are.
        images: of the training split.
        labels: (n,) int64 on the device, for a method that uses them.
        budget: how long.
        pretrain: how.
        seed: the trial.
        precision: of the matrix products.
        checkpoint: where the state is kept.
    """

    method: Method
    views: tuple[str, ...]
    augmenters: dict[str, Augmenter]
    normalise: Callable[[Tensor], Tensor]
    images: Images
    labels: Tensor | None
    budget: Budget
    pretrain: Pretrain
    seed: int
    precision: str
    checkpoint: Path


def pretrain(job: Job, watch: Watch) -> Progress:
    """Train until the budget is spent, from the last checkpoint if there is one.

    Raises:
        Diverged: an epoch's mean loss is not a number.
        KeyboardInterrupt: ``watch`` asked to stop; the state is saved.
    """
    method, budget, device = job.method, job.budget, job.images.device
    optimizer = optimizer_for(method, job.pretrain)
    progress = restore(job, optimizer)
    before, start, pace, memory = progress.seconds, time.monotonic(), Pace(), PeakMemory(device)
    method.train()
    watch.stage("pretrain", budget.total_views)
    while progress.step < budget.steps:
        epoch, places = budget.span(progress.step)
        if places.start == 0:
            begin_epoch(job, epoch)
        order = randomness.permutation(budget.images, job.seed, "order", epoch)
        end = min(budget.steps, (epoch + 1) * budget.epoch)
        for step in range(progress.step, end):
            index = order[budget.span(step)[1]]
            if step + 1 < end:
                expect(job, order[budget.span(step + 1)[1]])
            take_step(job, optimizer, progress, index, epoch)
            watch.progress(progress.views, note(progress, budget))
            stopping = watch.stopping()
            progress.seconds = before + time.monotonic() - start
            if progress.step == end:
                end_epoch(progress, epoch, learning_rate(job.pretrain, end / budget.steps))
            if stopping or (pace.due() and ranks.rank() == 0):
                progress.peak_memory = max(progress.peak_memory, memory.read())
                pace.save(job.checkpoint, state(job, optimizer, progress))
            if stopping:
                raise KeyboardInterrupt
    progress.peak_memory = max(progress.peak_memory, memory.read())
    return progress


def begin_epoch(job: Job, epoch: int) -> None:
    """Let the method look at its pretraining split, if it wants to."""
    torch.manual_seed(randomness.key(job.seed, "epoch", epoch))
    backbone, device = job.method.backbone, job.images.device
    job.method.before_epoch(epoch, lambda: represent(backbone, job.images.stored, job.normalise, device))


def expect(job: Job, index: Tensor) -> None:
    """Have the images of the next batch (b,) read, unless the method chooses what its views show."""
    if not chooses(job.method):
        job.images.expect(index[ranks.own(len(index))])


def chooses(method: Method) -> bool:
    """Whether a method has its views show other images than those of the batch."""
    return getattr(method.source_indices, "__func__", None) is not Method.source_indices


def take_step(job: Job, optimizer: torch.optim.Optimizer, progress: Progress, index: Tensor, epoch: int) -> None:
    """One batch: views, loss, gradients, update."""
    torch.manual_seed(randomness.key(job.seed, "step", progress.step))
    batch = make_batch(job, index, epoch)
    views = len(index) * job.budget.views
    with FlopCounterMode(display=False) if progress.flops is None else contextlib.nullcontext() as counter:
        scalars = forward(job, batch)
        scalars["loss"].backward()
    if counter:
        progress.flops = sharing.total(counter.get_total_flops(), job.images.device) / views
    update(job, optimizer, progress.step)
    progress.step += 1
    progress.views += views
    progress.images += len(index)
    for name, value in scalars.items():
        progress.sums[name] = progress.sums.get(name, 0.0) + value.detach() * len(index)


def forward(job: Job, batch: Batch) -> dict[str, Tensor]:
    """The method's loss and scalars, in the job's precision."""
    autocast = torch.autocast(batch.views.device.type, torch.bfloat16, enabled=job.precision == "bfloat16")
    with autocast, sharing.step(len(batch.index)):
        scalars: dict[str, Tensor] = job.method(batch)
    return scalars


def update(job: Job, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Move the weights by their gradients, ``step`` steps after the start, and then what follows them."""
    sharing.reduce_gradients(job.method)
    follow_schedules(optimizer, job.pretrain, step / job.budget.steps)
    if job.pretrain.clip is not None:
        clip_gradients(optimizer, job.pretrain.clip)
    optimizer.step()
    optimizer.zero_grad()
    job.method.after_step((step + 1) / job.budget.steps)


def make_batch(job: Job, index: Tensor, epoch: int) -> Batch:
    """All views of the images at ``index``, (b,) on the CPU; how a view is drawn depends on no method."""
    key = randomness.key(job.seed, "views", epoch)
    on_device = index.to(job.images.device, non_blocking=True)
    sources = job.method.source_indices(on_device, len(job.views))
    parts = []
    own = ranks.own(len(index))
    images, shown = job.images.at(sources[:, own])
    for recipe, stretch in itertools.groupby(range(len(job.views)), key=job.views.__getitem__):
        numbers = [*stretch]
        rows = np.concatenate([index.numpy()[own] + number * 2**40 for number in numbers])
        places = shown[numbers[0] : numbers[-1] + 1].flatten()
        views = job.augmenters[recipe](images, places, randomness.uniforms(key, rows, COLUMNS))
        parts.append(sharing.among(views, len(numbers), len(index)))
    labels = None if job.labels is None else job.labels.index_select(0, on_device)
    full, *crops = by_size(parts)
    return Batch(full, on_device, labels, tuple(crops))


def by_size(parts: list[Tensor]) -> list[Tensor]:
    """Views of one size in one tensor, sizes in the order of their first view."""
    sizes = dict.fromkeys(part.shape[-1] for part in parts)
    groups = [[part for part in parts if part.shape[-1] == size] for size in sizes]
    return [torch.cat(group) if len(group) > 1 else group[0] for group in groups]


def end_epoch(progress: Progress, epoch: int, rate: float) -> None:
    """Write the epoch's means into the history; the only place that waits for the device.

    Raises:
        Diverged: the mean loss is not a number.
    """
    means = {name: float(total) / progress.images for name, total in progress.sums.items()}
    if not math.isfinite(means["loss"]):
        raise Diverged(f"the loss became {means['loss']} in epoch {epoch + 1}", hint="try a lower learning rate")
    line: dict[str, Any] = {"epoch": epoch + 1, **means, "lr": rate}
    progress.history.append({**line, "views": progress.views, "seconds": progress.seconds})
    progress.sums, progress.images = {}, 0


def note(progress: Progress, budget: Budget) -> str:
    """What the progress bar says beside the bar."""
    loss = f", loss {progress.history[-1]['loss']:.4f}" if progress.history else ""
    return f"epoch {budget.span(progress.step - 1)[0] + 1}/{math.ceil(budget.steps / budget.epoch)}{loss}"


def state(job: Job, optimizer: torch.optim.Optimizer, progress: Progress) -> dict[str, Any]:
    """All that :func:`restore` needs."""
    return {
        "method": job.method.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }


def restore(job: Job, optimizer: torch.optim.Optimizer) -> Progress:
    """Put method and optimiser back to where the last checkpoint was; a fresh start if there is none."""
    saved = load(job.checkpoint, job.images.device)
    if saved is None:
        return Progress(precision=job.precision)
    job.method.load_state_dict(saved["method"])
    optimizer.load_state_dict(saved["optimizer"])
    return Progress(**saved["progress"])
