"""What can be found wrong with runs before any work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.datasets.load import load_dataset, require, source_of
from protocols.evaluate import option_types
from protocols.evaluate import registry as evaluations
from protocols.parse import convert
from protocols.pretrained import new_method
from protocols.refine import registry as refinements
from protocols.run import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from protocols.budget import Budget
    from protocols.run import Part, Run


def check(runs: Sequence[Run], data: Path) -> list[Budget]:
    """Try everything that could be wrong with some runs, short of carrying them out; what they share, once.

    Args:
        runs: to be checked.
        data: folder of the data sets.

    Returns:
        How long the pretraining of each is.

    Raises:
        RequestError: a plugin does not load, an option or a batch cannot work, a data set is missing.
    """
    require({name for run in runs for name in datasets_of(run)}, data)
    for part in unlike(evaluation for run in runs for evaluation in run.evaluations):
        check_options(evaluations.get(part.name), part)
    for part in unlike(
        evaluation.refinement for run in runs for evaluation in run.evaluations if evaluation.refinement
    ):
        check_options(refinements.get(part.name), part)
    families = [kin(run) for run in runs]
    budgets = {family: budget_of(run, data) for family, run in dict(zip(families, runs, strict=True)).items()}
    return [budgets[family] for family in families]


def datasets_of(run: Run) -> list[str]:
    """What a run is pretrained and measured on, by name."""
    return list(dict.fromkeys([run.dataset.name, *(evaluation.dataset.name for evaluation in run.evaluations)]))


def absent(run: Run, data: Path) -> list[str]:
    """Those of a run's data sets that are not here."""
    return [name for name in datasets_of(run) if source_of(name, data).missing()]


def kin(run: Run) -> str:
    """The same for runs that differ in their seed alone."""
    return digest_of([run.method.identity(), run.dataset.identity(), run.backbone.identity(), vars(run.pretrain)])


def budget_of(run: Run, data: Path) -> Budget:
    """How long a run's pretraining is; its networks are built, to see whether they can be.

    Raises:
        RequestError: its method refuses an option or the backbone or wants views of no recipe, or a batch is larger
            than the data set.
    """
    return new_method(run, load_dataset(run.dataset.name, data))[1]


def unlike(parts: Iterable[Part]) -> list[Part]:
    """One of all that are alike."""
    return list({digest_of(part.identity()): part for part in parts}.values())


def check_options(function: Callable[..., object], part: Part) -> None:
    """Do nothing if an evaluation or refinement takes its options.

    Raises:
        RequestError: an option is of the wrong type, or not among the choices.
    """
    types = option_types(function)
    for name, value in part.options.items():
        convert(value, types[name], f"{part.name}.{name}")
