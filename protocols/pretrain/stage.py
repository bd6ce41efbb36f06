"""The pretraining stage of a run: train, resume, or load the stored backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from protocols.backbones.build import new_backbone, to_device
from protocols.pretrain import checkpoint
from protocols.pretrain.build import build_job
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.loop import pretrain
from protocols.pretrain.worker import launch_ranks
from results.errors import DamagedFile, ForeignFile
from results.store import BACKBONE, CHECKPOINT, EXTRA_STATE, remove

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from methods.base import Backbone
    from protocols.datasets.base import Dataset
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from protocols.system.progress import ProgressListener


def pretrained_backbone(
    run: Run,
    dataset: Dataset,
    device: torch.device,
    listener: ProgressListener,
    context: ExecutionContext,
    *,
    measure: Callable[[Backbone], dict[str, float]] | None = None,
) -> tuple[Backbone, TrainingState]:
    """The run's backbone with trained weights, and the state at the end of its training.

    Args:
        run: whose backbone it is.
        dataset: that it is pretrained on.
        device: that it is trained and returned on.
        listener: receives the progress.
        context: where and how the run is executed.
        measure: see ``PretrainJob``.

    Raises:
        RequestError: the run's options cannot work with this data set.
        Diverged: its loss is not finite.
        ForeignFile: the stored weights or the checkpoint belong to another run.
    """
    folder = context.runs / run.folder()
    saved = load_trained(run, folder, device, listener)
    if saved is None:
        with launch_ranks(run, folder, context):
            job = build_job(run, folder, dataset, device, reference=context.reference, measure=measure)
            if job.method.notice:
                listener.warn(job.method.notice)
            state = pretrain(job, listener)
        extra = job.method.extra_state()
        if extra:
            checkpoint.save(folder / EXTRA_STATE, extra, run.fingerprint())
        weights = job.method.encoder.state_dict()
        statistics = job.method.image_statistics(job.method.options, job.method.encoder)
        saved = {
            "backbone": weights,
            "progress": vars(state),
            "has_extra_state": bool(extra),
            "side": job.method.image_side(job.method.options) or dataset.side,
            "statistics": statistics or (dataset.mean, dataset.std),
        }
        checkpoint.save(folder / BACKBONE, saved, run.fingerprint())
        (folder / CHECKPOINT).unlink(missing_ok=True)
    backbone = to_device(new_backbone(run, saved.get("side", dataset.side)), device)
    try:
        backbone.load_state_dict(saved["backbone"])
        return backbone, TrainingState(**saved["progress"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ForeignFile(
            f"{folder / BACKBONE} has the weights of another backbone", hint="delete it; the same command trains again"
        ) from error


def load_trained(run: Run, folder: Path, device: torch.device, listener: ProgressListener) -> dict[str, Any] | None:
    """The content of a run's file of weights; None if there is none, or it has to be made again.

    Weights and extra state are made by one training. Where one of them is damaged, both are removed.

    Raises:
        ForeignFile: a file belongs to another run.
    """
    try:
        saved = checkpoint.load(folder / BACKBONE, device, run.fingerprint(), listener.warn)
        extra = checkpoint.load(folder / EXTRA_STATE, torch.device("cpu"), run.fingerprint(), listener.warn)
        missing = saved is not None and extra is None and saved.get("has_extra_state", False)
        problem = f"{folder / EXTRA_STATE} is missing" if missing else ""
    except DamagedFile as error:
        problem = str(error)
    except ForeignFile as error:
        error.hint = "delete it; the same command trains again"
        raise
    if not problem:
        return saved
    listener.warn(f"{problem}; the weights are trained again")
    for name in (BACKBONE, EXTRA_STATE):
        remove(folder / name)
    return None
