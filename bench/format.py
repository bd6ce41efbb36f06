"""Runs and times in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.spec.run import Run
    from results.record import Metric
    from slurm.monitor import Outcome


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def title(run: Run) -> str:
    """Which run it is."""
    return f"{run.dataset.label} {run.backbone.label} {run.method.label} seed {run.seed}"


def scored(metric: Metric, run: Run) -> str:
    """The evaluation of a metric, and its data set where that is not the run's own."""
    return metric.label if metric.dataset == run.dataset.name else f"{metric.label} on {metric.dataset}"


def ending(outcome: Outcome, seconds: float) -> str:
    """How a run ended."""
    if outcome.record is None:
        return f"✗ {title(outcome.run)}: {outcome.reason}"
    run, metrics = outcome.run, outcome.record.metrics
    scores = ", ".join(f"{scored(m, run)} {m.value:.1f}" for m in metrics if m.metric == "top1" and not m.refinement)
    return f"✓ {title(outcome.run)}: {scores} ({duration(seconds)})"
