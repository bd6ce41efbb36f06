"""The pretrained backbone of a run: trained now, carried on with, or read back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from methods.base import Setting
from methods.registry import registry as methods
from protocols import checkpoint, randomness, ranks, sharing
from protocols.augment import Augmenter, normalise
from protocols.backbones import registry as backbones
from protocols.budget import budget_for
from protocols.checkpoint import Progress
from protocols.hardware import choose_precision
from protocols.images import images_for
from protocols.parse import build
from protocols.plain import make_plain
from protocols.pretrain import Job, pretrain
from results.errors import RequestError
from results.store import BACKBONE, CHECKPOINT, EXTRA_STATE

if TYPE_CHECKING:
    from pathlib import Path

    from methods.base import Backbone, Method
    from protocols.budget import Budget
    from protocols.datasets.base import Dataset, Split
    from protocols.place import Place
    from protocols.run import Run
    from protocols.watch import Watch


M = TypeVar("M", bound=nn.Module)


def pretrained(
    run: Run, dataset: Dataset, device: torch.device, watch: Watch, place: Place
) -> tuple[Backbone, Progress]:
    """The run's backbone with its trained weights, and what training it took.

    Raises:
        RequestError: the run's options cannot work with this data set.
        Diverged: its loss stopped being a number.
    """
    folder = place.runs / run.folder()
    saved = checkpoint.load(folder / BACKBONE, device)
    if saved is None:
        with ranks.together(run, folder, place):
            job = prepare(run, folder, dataset, device, plain=place.plain)
            progress = pretrain(job, watch)
        if kept := job.method.keepsakes():
            checkpoint.save(folder / EXTRA_STATE, kept)
        saved = {"backbone": job.method.encoder.state_dict(), "progress": vars(progress)}
        checkpoint.save(folder / BACKBONE, saved)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    backbone = placed(new_backbone(run), device)
    backbone.load_state_dict(saved["backbone"])
    return backbone, Progress(**saved["progress"])


def prepare(run: Run, folder: Path, dataset: Dataset, device: torch.device, *, plain: bool = False) -> Job:
    """Everything a run's pretraining needs, on its device; ``plain`` turns the quicker ways off."""
    method, budget = new_method(run, dataset)
    split = split_for(type(method), dataset)
    if plain:
        make_plain(method)
    return Job(
        method=placed(method, device),
        views=views_of(type(method), method.options, run),
        augmenters=augmenters(run, dataset, plain=plain),
        normalise=partial(normalise, mean=dataset.mean, std=dataset.std),
        images=images_for(split.images, device),
        labels=torch.from_numpy(split.labels).to(device) if method.uses_labels else None,
        budget=budget,
        pretrain=run.pretrain,
        seed=run.seed,
        precision=choose_precision(run.pretrain.precision, device),
        checkpoint=folder / CHECKPOINT,
    )


def placed(module: M, device: torch.device) -> M:
    """A module on its device, convolutions in channels-last memory."""
    module.to(device).to(memory_format=torch.channels_last)
    return module


def augmenters(run: Run, dataset: Dataset, *, plain: bool = False) -> dict[str, Augmenter]:
    """The protocol's recipes, with the data set's normalisation."""
    return {name: Augmenter(recipe, dataset.mean, dataset.std, plain=plain) for name, recipe in run.recipes.items()}


def method_options(kind: type[Method], run: Run) -> Any:
    """The method's options as its own dataclass.

    Raises:
        RequestError: it refuses a value.
    """
    return build(kind.Options, run.method.options, run.method.name)


def views_of(kind: type[Method], options: Any, run: Run) -> tuple[str, ...]:
    """The recipe of every view that a method wants: of its second ``standard`` view it is ``standard2``, if there is.

    Raises:
        RequestError: the protocol has no such recipe.
    """
    wanted = kind.views(options)
    for name in wanted:
        if name not in run.recipes:
            raise RequestError(
                f"{run.method.name} wants views of recipe {name!r}, which {run.protocol} does not have",
                hint=f"its recipes: {', '.join(run.recipes)}",
            )
    numbered = [f"{name}{wanted[:place].count(name) + 1}" for place, name in enumerate(wanted)]
    return tuple(own if own in run.recipes else name for own, name in zip(numbered, wanted, strict=True))


def new_backbone(run: Run) -> Backbone:
    """The backbone with its initial weights, which depend on nothing but its name and the trial."""
    torch.manual_seed(randomness.key(run.seed, "backbone"))
    return backbones.get(run.backbone.name)(run.backbone.name)


def new_method(run: Run, dataset: Dataset) -> tuple[Method, Budget]:
    """The method with fresh heads around the initial backbone, and how long it is trained.

    Raises:
        RequestError: its options cannot work with this protocol, data set or backbone.
    """
    kind = methods.get(run.method.name)
    options = method_options(kind, run)
    views, images = views_of(kind, options, run), len(split_for(kind, dataset))
    side = (run.recipes[views[0]].size if views else None) or dataset.side
    budget = budget_for(run.pretrain, images=images, views=kind.passes(options))
    setting = Setting(len(dataset.classes), images, side, budget.steps, run.seed)
    backbone = new_backbone(run)
    if ranks.count() > 1:
        sharing.share(backbone)
    torch.manual_seed(randomness.key(run.seed, "heads"))
    return kind(backbone, options, setting), budget


def split_for(kind: type[Method], dataset: Dataset) -> Split:
    """What a method is trained on."""
    return dataset.train if kind.uses_labels else dataset.pretrain
