"""What can be found wrong with runs before any work starts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from protocols.backbones.build import new_backbone
from protocols.datasets.load import load_dataset, require
from protocols.pretrain.build import build_method
from protocols.pretrain.optimizers import build_optimizer
from protocols.pretrain.schedules import learning_rate
from protocols.spec.plugins import AUGMENTATIONS, EVALUATIONS, REFINEMENTS, dataset_source, load_files, typed_options
from protocols.spec.run import Component, digest_of
from results.errors import BrokenPlugin, RequestError
from results.names import code_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from methods.base import Method
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
        RequestError: a plugin does not load, an option or a batch cannot work, a data set is missing.
    """
    load_files({file for run in runs for file in run.plugins})
    require({name for run in runs for name in dataset_names(run)}, data)
    for evaluation in unique_parts(evaluation for run in runs for evaluation in run.evaluations):
        check_options(EVALUATIONS, evaluation.name, evaluation.own_options)
    for refinement in unique_parts(
        evaluation.refinement for run in runs for evaluation in run.evaluations if evaluation.refinement
    ):
        check_options(REFINEMENTS, refinement.name, refinement.options)
    keys = [config_key(run) for run in runs]
    budgets = {key: check_method(run, data) for key, run in dict(zip(keys, runs, strict=True)).items()}
    return [budgets[key] for key in keys]


def check_method(run: Run, data: Path) -> Budget:
    """Build a run's networks and its optimizer, to see whether they can be.

    Raises:
        RequestError: its method refuses an option or the backbone or wants views of an augmentation that is not there,
            or a batch is larger than the data set.
    """
    with refused_if_it_fails("dataset", run.dataset.name):
        dataset = load_dataset(run.dataset.name, data)
    if run.backbone.source:
        with refused_if_it_fails("backbone", run.backbone.name):
            new_backbone(run)
    with refused_if_it_fails("method", run.method.label):
        method, budget = build_method(run, dataset)
    if budget.views:
        try_settings(run, method, dataset)
    return budget


def dataset_names(run: Run) -> list[str]:
    """The data sets that a run is pretrained and evaluated on."""
    return list(dict.fromkeys([run.dataset.name, *(evaluation.dataset.name for evaluation in run.evaluations)]))


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
    """Do nothing if an evaluation or refinement accepts its options.

    Raises:
        RequestError: an option is of the wrong type, or not among the choices.
    """
    typed_options(registry.get(name), code_options(registry.key(name), options), name)


def try_settings(run: Run, method: Method, dataset: Dataset) -> None:
    """Build a run's optimizer, and call its schedule and augmentation operations, to see whether they work.

    Raises:
        BrokenPlugin: one does not.
    """
    settings = run.pretrain
    with refused_if_it_fails("optimizer", settings.optimizer):
        build_optimizer(method, settings)
    with refused_if_it_fails("schedule", settings.schedule):
        float(learning_rate(settings, settings.warmup))
    for augmentation in run.augmentations.values():
        side = augmentation.size or dataset.side
        for name, options in augmentation.operations.items():
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
    except Exception as error:
        raise BrokenPlugin(f"{kind} {name!r} does not work: {type(error).__name__}: {error}") from error
