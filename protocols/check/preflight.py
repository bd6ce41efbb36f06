"""What can be found wrong with runs before any work starts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import torch

from methods.base import TOKENS_EXAMPLE
from protocols.backbones.build import new_backbone
from protocols.backbones.inference import evaluation_mode
from protocols.datasets.load import load_dataset, require
from protocols.evaluate.evaluator import HEALTH_AUGMENTATION
from protocols.pretrain.build import augmentations_of_views, build_method
from protocols.pretrain.optimizers import build_optimizer
from protocols.pretrain.schedules import learning_rate
from protocols.spec.plugins import (
    AUGMENTATIONS,
    EVALUATIONS,
    OPTIMIZERS,
    REFINEMENTS,
    SCHEDULES,
    dataset_source,
    load_files,
    option_types,
    typed_options,
)
from protocols.spec.resolve import datasets_of
from protocols.spec.run import Component, digest_of
from protocols.system.device import restore_torch
from results.constraints import AugmentationName
from results.errors import BrokenPlugin, RequestError, describe
from results.names import code_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from methods.base import Backbone, Method
    from protocols.datasets.base import Dataset
    from protocols.spec.budget import Budget
    from protocols.spec.protocol import TomlTable
    from protocols.spec.run import Run
    from results.registry import Registry

ComponentT = TypeVar("ComponentT", bound=Component)


def check(runs: Sequence[Run], data: Path) -> list[Budget]:
    """Find everything that could be wrong with some runs, short of executing them; what they share, once.

    Args:
        runs: to be checked.
        data: folder of the data sets.

    Returns:
        How long the pretraining of each is.

    Raises:
        RequestError: a plugin does not load, or changes torch for others; an option, a batch or a backbone cannot work;
            a data set is missing or has one class; or the protocol lacks an augmentation.
    """
    load_files({file for run in runs for file in run.plugins})
    require({name for run in runs for name in dataset_names(run)}, data)
    for evaluation in unique_parts(evaluation for run in runs for evaluation in run.evaluations):
        check_options(EVALUATIONS, evaluation.name, evaluation.own_options)
    for refinement in unique_parts(
        evaluation.refinement for run in runs for evaluation in run.evaluations if evaluation.refinement
    ):
        check_options(REFINEMENTS, refinement.name, refinement.options)
    keys, sizes_taken = [config_key(run) for run in runs], dict[str, set[int]]()
    budgets = {key: check_run(run, data, sizes_taken) for key, run in dict(zip(keys, runs, strict=True)).items()}
    if changed := restore_torch():
        raise BrokenPlugin(
            f"a plugin changes {' and '.join(changed)} of torch for the whole process, other methods included",
            hint="name the type and the device of its own tensors instead",
        )
    return [budgets[key] for key in keys]


def check_run(run: Run, data: Path, sizes_taken: dict[str, set[int]]) -> Budget:
    """Build a run's networks and its optimizer, and give the backbone an image of every size, to see whether they work.

    Args:
        run: to be checked.
        data: folder of the data sets.
        sizes_taken: by backbone the sides of images that it is known to take; those of the run are added.

    Raises:
        RequestError: its method refuses an option or the backbone, its protocol lacks an augmentation, a batch is
            larger than the data set, the backbone does not take the images, or there is one class to evaluate on.
    """
    check_augmentations(run)
    with refused_if_it_fails("dataset", run.dataset.name):
        dataset = load_dataset(run.dataset.name, data)
    if run.backbone.source:
        with refused_if_it_fails("backbone", run.backbone.name):
            new_backbone(run, dataset.side)
    with refused_if_it_fails("method", run.method.label):
        method, budget = build_method(run, dataset)
        views = augmentations_of_views(type(method), method.options, run)
    if budget.views:
        try_settings(run, method, dataset)
    if run.pretrain.knn_every and len(dataset.classes) < 2:
        raise RequestError(f"pretrain.knn_every needs two classes, and {dataset.name} has one", hint="leave it out")
    side = type(method).image_side(method.options) or dataset.side
    sizes = {run.augmentations[name].size or side for name in (*views, HEALTH_AUGMENTATION)} | {side}
    for evaluation in run.evaluations:
        target = load_dataset(evaluation.dataset.name, data)
        if len(target.classes) < 2:
            raise RequestError(
                f"{target.name} has one class, of which every prediction is right",
                hint="name a data set of two classes or more after --evaluate-on",
            )
        if EVALUATIONS.describe(evaluation.name).declared["uses_tokens"] and not method.backbone.has_tokens:
            raise RequestError(
                f"{evaluation.label} needs tokens, which {run.backbone.name} does not have",
                hint=f"choose a ViT, such as {TOKENS_EXAMPLE}",
            )
        sizes.add(evaluation.image_size or type(method).image_side(method.options) or target.side)
    known = sizes_taken.setdefault(digest_of(run.backbone.identity()), set())
    for size in sorted(sizes - known):
        try_backbone(method.backbone, run.backbone.name, size)
    known |= sizes
    return budget


def check_augmentations(run: Run) -> None:
    """Do nothing if a run's protocol has the augmentations that its evaluations use.

    Raises:
        RequestError: it lacks one.
    """
    wanted = [(HEALTH_AUGMENTATION, "the health of representations is measured with views")]
    for evaluation in run.evaluations:
        types, options = option_types(EVALUATIONS.get(evaluation.name), evaluation.name), evaluation.own_options
        wanted += [
            (options[option], f"{evaluation.label} asks for images")
            for option, hint in types.items()
            for mark in get_args(hint)[1:]
            if isinstance(mark, AugmentationName) and options[option] not in mark.besides
        ]
    for name, purpose in wanted:
        if name not in run.augmentations:
            raise RequestError(
                f"{purpose} of augmentation {name!r}, which {run.preset} does not have", hint=f"add [recipes.{name}]"
            )


def try_backbone(backbone: Backbone, name: str, size: int) -> None:
    """Give a backbone two images, to see whether it takes their size and gives the features that it says.

    Raises:
        RequestError: it does not.
    """
    try:
        with evaluation_mode(backbone), torch.inference_mode():
            shape = tuple(backbone(torch.zeros(2, 3, size, size)).shape)
    except Exception as error:
        reason = (str(error).partition("\n")[0] or type(error).__name__).removesuffix(".")
        raise RequestError(
            f"backbone {name!r} does not take images of {size} px: {reason}", hint=hint_on_size(backbone, name, size)
        ) from error
    if shape != (2, backbone.dim):
        raise BrokenPlugin(f"backbone {name!r} gives features {shape} of 2 images, and says that dim is {backbone.dim}")


def hint_on_size(backbone: Backbone, name: str, size: int) -> str:
    """What to choose instead of a backbone that does not take images of a size; of a ViT another ``@patch``."""
    patch, divisors = backbone.patch_size, [number for number in range(2, size // 2 + 1) if size % number == 0]
    if "@patch=" in name and patch and size % patch and divisors:
        nearest_patch = min(divisors, key=lambda number: abs(number - patch))
        return f"name a patch that divides {size}, such as @patch={nearest_patch}"
    return "choose another backbone or size"


def dataset_names(run: Run) -> list[str]:
    """The data sets that a run is pretrained and evaluated on."""
    return list(dict.fromkeys(part.name for part in datasets_of(run)))


def missing_datasets(run: Run, data: Path) -> list[str]:
    """Those of a run's data sets that are not on this machine."""
    return [name for name in dataset_names(run) if dataset_source(name, data).missing()]


def config_key(run: Run) -> str:
    """A grouping key: equal for runs that differ in their seed alone."""
    return digest_of([run.method.identity(), run.dataset.identity(), run.backbone.identity(), vars(run.pretrain)])


def unique_parts(components: Iterable[ComponentT]) -> list[ComponentT]:
    """Components without repetition."""
    return list({digest_of(component.identity()): component for component in components}.values())


def check_options(registry: Registry[Any], name: str, options: TomlTable) -> None:
    """Do nothing if a plugin function accepts its options.

    Raises:
        RequestError: an option is of the wrong type, out of its bounds, or not among the choices.
    """
    present_name = registry.key(name)
    typed_options(registry.get(name), code_options(present_name, options), present_name)


def try_settings(run: Run, method: Method, dataset: Dataset) -> None:
    """Build a run's optimizer, and call its schedule and augmentation operations, to see whether they work.

    Raises:
        RequestError: one does not accept its options.
        BrokenPlugin: one does not work.
    """
    settings = run.pretrain
    check_options(OPTIMIZERS, settings.optimizer, settings.optimizer_options)
    check_options(SCHEDULES, settings.schedule, settings.schedule_options)
    with refused_if_it_fails("optimizer", settings.optimizer):
        build_optimizer(method, settings)
    with refused_if_it_fails("schedule", settings.schedule):
        float(learning_rate(settings, settings.warmup))
    for augmentation in run.augmentations.values():
        side = augmentation.size or dataset.side
        for name, options in augmentation.operations.items():
            check_options(AUGMENTATIONS, name, options)
            views, u = torch.rand(2, 3, side, side), torch.rand(2, AUGMENTATIONS.describe(name).declared["uniforms"])
            with refused_if_it_fails("augmentation", name):
                shape = AUGMENTATIONS.get(name)(views, u, **options).shape
                if shape != views.shape:
                    raise ValueError(f"it makes {tuple(shape)} of views {tuple(views.shape)}")


@contextlib.contextmanager
def refused_if_it_fails(kind: str, name: str) -> Iterator[None]:
    """Turn whatever a plugin raises into one line that names it.

    Raises:
        BrokenPlugin: it raised something.
    """
    try:
        yield
    except RequestError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{kind} {name!r} does not work: {describe(error)}") from error
