"""Text for runs and durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.spec.run import Run
    from results.record import Metric
    from slurm.monitor import Outcome


def duration(seconds: float) -> str:
    """A duration in readable units: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def file_size(size: int) -> str:
    """A number of bytes in readable units: ``12 kB``, ``1.4 GB``."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


def run_title(run: Run) -> str:
    """Data set, backbone, method and seed of a run."""
    return f"{run.dataset.label} {run.backbone.label} {run.method.label} seed {run.seed}"


def evaluation_title(metric: Metric, run: Run) -> str:
    """The evaluation of a metric, and its data set where that differs from the run's."""
    return metric.label if metric.dataset == run.dataset.name else f"{metric.label} on {metric.dataset}"


def outcome_line(outcome: Outcome, seconds: float) -> str:
    """The scores of a finished run, or the reason why it failed."""
    if outcome.busy:
        return f"… {run_title(outcome.run)}: is being run by another process, and waited for at the end"
    if outcome.record is None:
        return f"✗ {run_title(outcome.run)}: {outcome.reason}"
    run, metrics = outcome.run, outcome.record.metrics
    scores = ", ".join(
        f"{evaluation_title(m, run)} {m.value:.1f}" for m in metrics if m.metric == "top1" and not m.refinement
    )
    return f"✓ {run_title(outcome.run)}: {scores} ({duration(seconds)})"
