"""What can be found wrong with runs before any work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.datasets.load import load_dataset, require
from protocols.pretrain.build import build_method
from protocols.spec.plugins import (
    AUGMENTATIONS,
    EVALUATIONS,
    OPTIMIZERS,
    REFINEMENTS,
    SCHEDULES,
    dataset_source,
    option_types,
)
from protocols.spec.run import digest_of
from protocols.spec.schema import convert
from results.names import code_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from protocols.spec.budget import Budget
    from protocols.spec.run import Component, Run
    from results.registry import Registry


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
    require({name for run in runs for name in dataset_names(run)}, data)
    for component in unique_parts(evaluation for run in runs for evaluation in run.evaluations):
        check_options(EVALUATIONS, component)
    for component in unique_parts(
        evaluation.refinement for run in runs for evaluation in run.evaluations if evaluation.refinement
    ):
        check_options(REFINEMENTS, component)
    keys = [config_key(run) for run in runs]
    budgets = {key: check_method(run, data) for key, run in dict(zip(keys, runs, strict=True)).items()}
    return [budgets[key] for key in keys]


def check_method(run: Run, data: Path) -> Budget:
    """Build a run's networks, to see whether they can be, and load what its training names.

    Raises:
        RequestError: its method refuses an option or the backbone or wants views of an augmentation that is not there,
            or a batch is larger than the data set.
    """
    budget = build_method(run, load_dataset(run.dataset.name, data))[1]
    OPTIMIZERS.get(run.pretrain.optimizer)
    SCHEDULES.get(run.pretrain.schedule)
    for augmentation in run.augmentations.values():
        for name in augmentation.operations:
            AUGMENTATIONS.get(name)
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


def unique_parts(components: Iterable[Component]) -> list[Component]:
    """Components without repetition."""
    return list({digest_of(component.identity()): component for component in components}.values())


def check_options(registry: Registry[Any], component: Component) -> None:
    """Do nothing if an evaluation or refinement accepts its options.

    Raises:
        RequestError: an option is of the wrong type, or not among the choices.
    """
    types = option_types(registry.get(component.name))
    for name, value in code_options(registry.key(component.name), component.options).items():
        convert(value, types[name], f"{component.name}.{name}")
