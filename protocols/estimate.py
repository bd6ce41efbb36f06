"""How long runs will take, from a few steps of each kind on this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from protocols.datasets.load import load_dataset
from protocols.hardware import choose_device
from protocols.speed import Loop, job_for, repeated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.budget import Budget
    from protocols.place import Place
    from protocols.run import Run

VIEWS = 256
"""Views in a step of the probe, at most as many as in a step of the run."""


def seconds_for(run: Run, budget: Budget, place: Place) -> float:
    """An estimate of a run's time: its pretraining, and as much as its frozen features' share of that.

    Left out are evaluations on features, which take seconds, and what a method does between epochs.
    """
    dataset = load_dataset(run.dataset.name, place.data)
    images = len(dataset.train) + len(dataset.test)
    if not budget.views:
        return 0.0
    rate = views_per_second(run, budget, place)
    return (budget.total_views + images / 3) / rate


def kind_of(run: Run) -> tuple[str, str, str, str]:
    """The same for runs that take equally long."""
    return run.method.label, run.dataset.label, run.backbone.label, run.label


def seconds_by_kind(
    runs: Sequence[tuple[Run, Budget]], place: Place
) -> Iterator[tuple[tuple[str, str, str, str], float]]:
    """Each kind of run and its estimate, as it is made."""
    for kind, (run, budget) in {kind_of(run): (run, budget) for run, budget in runs}.items():
        yield kind, seconds_for(run, budget, place)


def views_per_second(run: Run, budget: Budget, place: Place) -> float:
    """Speed of pretraining, by a few steps."""
    batch = max(2, min(budget.batch, VIEWS // budget.views))
    small = dataclasses.replace(run, pretrain=dataclasses.replace(run.pretrain, batch=batch))
    device = choose_device(place.device)
    loop = Loop(job_for(small, place, device))
    loop.step()
    return batch * budget.views / repeated(loop.step, 0.0, device)
