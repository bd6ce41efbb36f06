"""Estimates the duration of runs from a few steps of each kind on this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from protocols.datasets.load import load_dataset
from protocols.speed.measure import EndlessLoop, mean_seconds, temporary_job
from protocols.system.device import choose_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.spec.budget import Budget
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run

DurationKey = tuple[str, str, str, str]

MAX_VIEWS = 256
"""Views in a timed step, at most; fewer where the run's steps have fewer."""


def estimate_seconds(run: Run, budget: Budget, context: ExecutionContext) -> float:
    """Estimate the duration of a run: its pretraining and the extraction of its features.

    Evaluations on features, which take seconds, and the hooks of a method between epochs are left out.
    """
    if not budget.views:
        return 0.0
    dataset = load_dataset(run.dataset.name, context.data)
    images = len(dataset.train) + len(dataset.test)
    batch = max(2, min(budget.batch, MAX_VIEWS // budget.views))
    settings = dataclasses.replace(run.pretrain, batch=batch, epochs=None, views=budget.total_views, flops=None)
    small = dataclasses.replace(run, pretrain=settings)
    device = choose_device(context.device)
    loop = EndlessLoop(temporary_job(small, context, device))
    loop.step()
    views_per_second = batch * budget.views / mean_seconds(loop.step, 0.0, device)
    return (budget.total_views + images / 3) / views_per_second  # a forward pass is a third of a step


def duration_key(run: Run) -> DurationKey:
    """A grouping key: equal for runs that take equally long."""
    return run.method.label, run.dataset.label, run.backbone.label, run.label


def seconds_by_duration_key(
    runs: Sequence[tuple[Run, Budget]], context: ExecutionContext
) -> Iterator[tuple[DurationKey, float]]:
    """Yield an estimate for each kind of run as soon as it is measured."""
    for key, (run, budget) in {duration_key(run): (run, budget) for run, budget in runs}.items():
        yield key, estimate_seconds(run, budget, context)
