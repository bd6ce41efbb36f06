"""Builds a run's pretraining: method, budget, augmenters, images on their device."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from methods.base import TOKENS_EXAMPLE, Batch, RunInfo
from protocols.augment.augmenter import Augmenter
from protocols.augment.normalise import normalise
from protocols.backbones.build import new_backbone, to_device
from protocols.datasets.device_images import device_images
from protocols.pretrain import data_parallel, process_group
from protocols.pretrain.loop import PretrainJob, concatenate_by_size
from protocols.spec.budget import budget_for
from protocols.spec.plugins import METHODS
from protocols.system import randomness
from protocols.system.device import choose_precision, views_dtype
from protocols.system.reference_ops import use_reference_ops
from results.errors import RequestError
from results.schema import build
from results.store import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from methods.base import Backbone, Method
    from protocols.datasets.base import Dataset, Split
    from protocols.spec.budget import Budget
    from protocols.spec.run import Run


def build_job(
    run: Run,
    folder: Path,
    dataset: Dataset,
    device: torch.device,
    *,
    reference: bool = False,
    measure: Callable[[Backbone], dict[str, float]] | None = None,
) -> PretrainJob:
    """Build a run's pretraining on its device.

    Args:
        run: to be pretrained.
        folder: of the run.
        dataset: to pretrain on.
        device: to train on.
        reference: use the reference operations, without compiled and hand-written kernels and CUDA graphs.
        measure: see ``PretrainJob``.
    """
    shared = process_group.world_size() > 1
    method, budget = build_method(run, dataset, shared=shared)
    split = pretraining_split(type(method), dataset)
    if reference:
        use_reference_ops(method)
    method = to_device(method, device)
    precision = choose_precision(run.pretrain.precision, device)
    return PretrainJob(
        method=method,
        compute_loss=data_parallel.average_gradients(method) if shared else method,
        views=augmentations_of_views(type(method), method.options, run),
        augmenters=build_augmenters(run, dataset, reference=reference, dtype=views_dtype(precision, device)),
        normalise=partial(normalise, mean=dataset.mean, std=dataset.std),
        images=device_images(split.images, device),
        labels=torch.from_numpy(split.labels).to(device) if method.uses_labels else None,
        budget=budget,
        pretrain=run.pretrain,
        seed=run.seed,
        precision=precision,
        checkpoint=folder / CHECKPOINT,
        owner=run.fingerprint(),
        measure=measure,
        graphs=not reference,
    )


def build_method(run: Run, dataset: Dataset, *, shared: bool = False) -> tuple[Method, Budget]:
    """The method with initial heads and backbone, and the budget of its pretraining.

    Args:
        run: to be pretrained.
        dataset: to pretrain on.
        shared: whether the ranks of this process's group compute its steps together.

    Raises:
        RequestError: its options cannot work with this protocol, data set or backbone.
    """
    method_class = METHODS.get(run.method.name)
    options = build(method_class.Options, run.method.options, run.method.name)
    views, images = augmentations_of_views(method_class, options, run), len(pretraining_split(method_class, dataset))
    side = (run.augmentations[views[0]].size if views else None) or dataset.side
    views_per_image = method_class.views_per_image(options)
    flops = count_flops_per_view(run, dataset) if run.pretrain.flops and views_per_image else None
    budget = budget_for(run.pretrain, images=images, views=views_per_image, flops_per_view=flops)
    info = RunInfo(len(dataset.classes), images, side, budget.steps, run.seed, budget.batch)
    backbone = new_backbone(run, method_class.image_side(options) or dataset.side)
    if method_class.uses_tokens and not backbone.patch_size:
        raise RequestError(
            f"{run.method.name} needs tokens of the images' own patches, which {run.backbone.name} does not have",
            hint=f"choose a ViT with a patch size, such as {TOKENS_EXAMPLE}",
        )
    if shared:
        data_parallel.make_backbone_parallel(backbone)
    torch.manual_seed(randomness.key(run.seed, "heads"))
    method = method_class(backbone, options, info)
    if shared:
        data_parallel.make_heads_parallel(method)
    return method, budget


def count_flops_per_view(run: Run, dataset: Dataset) -> float:
    """Floating-point operations of a training step by its views: forward and backward, momentum networks and all.

    They follow from the shapes of tensors, which are made without their data: the count is that of reference operations
    whatever the device, its kernels and the number of processes. Only of a method that looks at values is a step
    computed. What a method does between steps and between epochs is not in it.
    """
    method, budget = build_one_step(run, dataset)
    try:
        total = count_flops(method, example_batch(run, method, dataset, budget, "meta"))
    except Exception:  # noqa: BLE001 - a method may fail in any way on tensors without data
        method, budget = build_one_step(run, dataset)
        method.before_epoch(0, lambda: torch.rand(budget.images, method.backbone.dim))
        total = count_flops(method, example_batch(run, method, dataset, budget, "cpu"))
    return total / (budget.batch * budget.views)


def build_one_step(run: Run, dataset: Dataset) -> tuple[Method, Budget]:
    """The method of a run with a budget of one step."""
    method, budget = build_method(replace(run, pretrain=replace(run.pretrain, flops=None, views=1)), dataset)
    use_reference_ops(method)
    return method.train(), budget


def count_flops(method: Method, batch: Batch) -> int:
    """Floating-point operations of a forward and a backward pass; attention counts as its matrix products."""
    method.to(batch.views.device)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        method(batch)["loss"].backward()
    return int(counter.get_total_flops())


def example_batch(run: Run, method: Method, dataset: Dataset, budget: Budget, device: str) -> Batch:
    """A batch of noise in the shapes of the run's batches."""
    names, images = augmentations_of_views(type(method), method.options, run), budget.batch
    sides = [run.augmentations[name].size or dataset.side for name in names]
    full, *crops = concatenate_by_size([torch.rand(images, 3, side, side, device=device) for side in sides])
    index = torch.arange(images, device=device)
    return Batch(full, index, index % len(dataset.classes) if method.uses_labels else None, tuple(crops))


def build_augmenters(
    run: Run,
    dataset: Dataset,
    *,
    reference: bool = False,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Augmenter]:
    """The protocol's augmentations by name, with the data set's normalisation; ``size`` replaces that of the views."""
    sized = {name: replace(one, size=size or one.size) for name, one in run.augmentations.items()}
    return {
        name: Augmenter(one, dataset.mean, dataset.std, reference=reference, dtype=dtype) for name, one in sized.items()
    }


def augmentations_of_views(method_class: type[Method], options: Any, run: Run) -> tuple[str, ...]:
    """The augmentation of each view of a method; for the second ``standard`` view it is ``standard2`` if that exists.

    Raises:
        RequestError: the protocol has no such augmentation, or added it later and the method does not declare it.
    """
    wanted = method_class.views(options)
    for name in wanted:
        if name not in run.augmentations:
            raise RequestError(
                f"{run.method.name} wants views of augmentation {name!r}, which {run.protocol} does not have",
                hint=f"its augmentations: {', '.join(run.augmentations)}",
            )
    numbered = [f"{name}{wanted[:index].count(name) + 1}" for index, name in enumerate(wanted)]
    chosen = tuple(
        numbered_name if numbered_name in run.augmentations else name
        for numbered_name, name in zip(numbered, wanted, strict=True)
    )
    for name in chosen:
        if name in run.unused:  # else it would decide the weights and not the name of the run
            raise RequestError(
                f"{run.method.name} uses augmentation {name!r}, added to {run.preset} later, without declaring it",
                hint=f'write augmentations = ("{name}",) in its class',
            )
    return chosen


def pretraining_split(method_class: type[Method], dataset: Dataset) -> Split:
    """The images that a method is trained on: the labelled ones if it uses labels."""
    return dataset.train if method_class.uses_labels else dataset.pretrain
