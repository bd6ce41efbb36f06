"""The pretraining stage of a run: train, resume, or load the stored backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.backbones.build import new_backbone, to_device
from protocols.pretrain import checkpoint
from protocols.pretrain.build import build_job
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.loop import pretrain
from protocols.pretrain.worker import launch_ranks
from results.store import BACKBONE, CHECKPOINT, EXTRA_STATE

if TYPE_CHECKING:
    import torch

    from methods.base import Backbone
    from protocols.datasets.base import Dataset
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from protocols.system.progress import ProgressListener


def pretrained_backbone(
    run: Run, dataset: Dataset, device: torch.device, listener: ProgressListener, context: ExecutionContext
) -> tuple[Backbone, TrainingState]:
    """The run's backbone with trained weights, and the state at the end of its training.

    Raises:
        RequestError: the run's options cannot work with this data set.
        Diverged: its loss is not finite.
    """
    folder = context.runs / run.folder()
    saved = checkpoint.load(folder / BACKBONE, device)
    if saved is None:
        with launch_ranks(run, folder, context):
            job = build_job(run, folder, dataset, device, reference=context.reference)
            state = pretrain(job, listener)
        if extra := job.method.extra_state():
            checkpoint.save(folder / EXTRA_STATE, extra)
        saved = {"backbone": job.method.encoder.state_dict(), "progress": vars(state)}
        checkpoint.save(folder / BACKBONE, saved)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    backbone = to_device(new_backbone(run), device)
    backbone.load_state_dict(saved["backbone"])
    return backbone, TrainingState(**saved["progress"])
