"""Executes a run: data, pretraining, frozen features, evaluations, record."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

from protocols.datasets.load import load_dataset
from protocols.evaluate.evaluator import Evaluator, restore_evaluations
from protocols.evaluate.knn_during_training import knn_during_training
from protocols.pretrain.stage import pretrained_backbone
from protocols.spec.repeat import plugin_sources
from protocols.spec.resolve import missing_evaluations, require_same_images, stored_evaluations
from protocols.system.device import (
    choose_device,
    deterministic_algorithms,
    device_name,
    is_device_fault,
    is_out_of_memory,
    restore_torch,
)
from protocols.system.heartbeat import Heartbeat
from protocols.system.provenance import commit, provenance
from protocols.system.run_log import logged
from results import store
from results.errors import BenchError, RunFailed, describe
from results.record import Cost, Record

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.run import Run
    from protocols.system.progress import ProgressListener


def execute(run: Run, context: ExecutionContext, listener: ProgressListener) -> Record:
    """Execute the stages of a run that are not done yet, and store its record.

    Raises:
        RunFailed: the run failed; the reason is stored in its folder.
        KeyboardInterrupt: the run was asked to stop; the same call resumes it.
    """
    folder = context.runs / run.folder()
    try:
        with store.claimed(folder):
            return execute_claimed(run, folder, context, Heartbeat(folder, listener))
    except OSError as error:
        raise RunFailed(f"cannot write to {folder}: {error.strerror or error}") from error


def execute_claimed(run: Run, folder: Path, context: ExecutionContext, listener: ProgressListener) -> Record:
    """:func:`execute` with a lock on the folder; evaluations of an earlier record are added to the new one."""
    for changed in restore_torch():
        listener.warn(f"an earlier run changed {changed} of torch for the whole process; it is changed back")
    stored = store.read_run(folder)
    if stored.status == "unreadable" and any(os.path.lexists(folder / name) for name in (store.CONFIG, store.RECORD)):
        listener.warn(f"{stored.problem}; it is made again")
    earlier = stored.record
    if earlier is not None and not missing_evaluations(run, earlier):
        return Record.from_json(earlier)  # another process executed it since it was planned
    if earlier is not None:
        evaluations = stored_evaluations(earlier["run"])
        if (folder / store.BACKBONE).exists():  # without it they are repeated after a new pretraining
            restore_evaluations(folder, evaluations, Record.from_json(earlier))
        run = run.with_evaluations(evaluations)
    for name in (store.CONFIG, store.RECORD):
        if not (folder / name).is_file():
            store.remove(folder / name)
    store.write_json(folder / store.CONFIG, run.config())
    store.add_attempt(folder, commit(), listener.warn)
    try:
        with (
            deterministic_algorithms(required=context.deterministic),
            logged(run, context.runs, context.log, listener) as followed,
        ):
            record = run_stages(run, folder, context, followed)
            followed.run_end(record)
    except (Exception, SystemExit) as error:
        # An error in a method fails this run only, and is recorded; so does one that wants to end the process.
        raise record_failure(folder, error) from error
    store.write_json(folder / store.RECORD, record.to_json())
    for name in (store.CHECKPOINT, store.FAILURE, store.HEARTBEAT):
        store.remove(folder / name)
    return record


def run_stages(run: Run, folder: Path, context: ExecutionContext, listener: ProgressListener) -> Record:
    """Execute or resume every stage of a run."""
    listener.stage("preparing", 1)
    plugin_texts = plugin_sources(run)
    device = choose_device(context.device)
    require_same_images(run, context.runs, context.data)
    dataset = load_dataset(run.dataset.name, context.data)
    measure = knn_during_training(dataset, device, run.seed) if run.pretrain.knn_every else None
    backbone, training = pretrained_backbone(run, dataset, device, listener, context, measure=measure)
    measured = Evaluator(run, folder, backbone, context.data, listener).measure()
    trained, attempts = training.views > 0, store.read_attempts(folder)
    seconds = {"pretrain": training.seconds, **measured.seconds}
    gpu_seconds = sum(seconds.values()) + (context.ranks - 1) * training.seconds
    return Record(
        run=run.config(),
        metrics=measured.metrics,
        pictures=measured.pictures,
        history=tuple(training.history),
        health=measured.health,
        cost=Cost(
            views=training.views,
            steps=training.step,
            seconds=seconds,
            views_per_second=training.views / training.seconds if trained else None,
            flops=training.views * (training.flops or 0.0) if trained else None,
            peak_memory=training.peak_memory,
            device=device_name(device) if context.ranks == 1 else f"{context.ranks} × {device_name(device)}",
            precision=training.precision,
            attempts=len(attempts),
            gpu_seconds=gpu_seconds if device.type == "cuda" else None,
            energy=training.energy,
        ),
        provenance={**provenance(device), **plugin_texts, "attempts": attempts},
    )


def record_failure(folder: Path, error: BaseException) -> RunFailed:
    """Store the reason of a failure; returns the exception to raise."""
    reason = str(error) if isinstance(error, BenchError) else describe(error)
    out_of_memory, device_fault = is_out_of_memory(error), is_device_fault(error)
    if out_of_memory:
        what = "lower the batch with --set pretrain.batch=N, or execute fewer runs at a time with --jobs or --per-gpu"
        reason = f"out of memory; {what} ({reason.splitlines()[0]})"
    elif device_fault:
        first_line, _, _ = str(error).partition("\n")
        reason = f"the GPU failed: {type(error).__name__}: {first_line}"
    elif "does not have a deterministic implementation" in reason:
        reason = f"{reason.partition(', but')[0]}; leave --deterministic out"
    store.write_failure(folder, reason, "".join(traceback.format_exception(error)))
    failure = RunFailed(reason)
    failure.needs_new_process = out_of_memory or device_fault
    return failure
