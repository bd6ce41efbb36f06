"""The story of a run: data, pretraining, frozen features, evaluations, record."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING

import torch

from protocols.datasets.load import load_dataset
from protocols.evaluated import Evaluator, restore
from protocols.hardware import choose_device, device_name
from protocols.heartbeat import Heartbeat
from protocols.pretrained import pretrained
from protocols.provenance import commit, provenance
from protocols.resolve import evaluations_of
from results import store
from results.errors import BenchError, RunFailed
from results.record import Cost, Record

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.place import Place
    from protocols.run import Evaluation, Run
    from protocols.watch import Watch


def execute(run: Run, place: Place, watch: Watch) -> Record:
    """Carry a run out, or what is left of it, and store its record.

    Raises:
        RunFailed: it cannot be finished; the reason is stored in its folder.
        KeyboardInterrupt: it was asked to stop; the same call carries on.
    """
    folder = place.runs / run.folder()
    try:
        with store.claimed(folder):
            return execute_claimed(run, folder, place, Heartbeat(folder, watch))
    except OSError as error:
        raise RunFailed(f"cannot write to {folder}: {error.strerror or error}") from error


def execute_claimed(run: Run, folder: Path, place: Place, watch: Watch) -> Record:
    """:func:`execute` by the only writer of the folder; what was measured before stays in the record."""
    run = run.together_with(measured_before(folder))
    store.write_json(folder / store.CONFIG, run.config())
    note_attempt(folder)
    try:
        record = carry_out(run, folder, place, watch)
    except Exception as error:
        # Whatever a method raises is its own failure: it is recorded here and ends this run alone.
        raise note_failure(folder, error) from error
    store.write_json(folder / store.RECORD, record.to_json())
    for name in (store.CHECKPOINT, store.FAILURE, store.HEARTBEAT):
        (folder / name).unlink(missing_ok=True)
    return record


def carry_out(run: Run, folder: Path, place: Place, watch: Watch) -> Record:
    """Every stage of a run, each from where it was left."""
    device = choose_device(place.device)
    dataset = load_dataset(run.dataset.name, place.data)
    backbone, progress = pretrained(run, dataset, device, watch, place)
    measured = Evaluator(run, folder, backbone, place.data, watch).measure()
    trained, attempts = progress.views > 0, store.read_lines(folder / store.ATTEMPTS)
    return Record(
        run=run.config(),
        metrics=measured.metrics,
        pictures=measured.pictures,
        history=tuple(progress.history),
        health=measured.health,
        cost=Cost(
            views=progress.views,
            steps=progress.step,
            seconds={"pretrain": progress.seconds, **measured.seconds},
            views_per_second=progress.views / progress.seconds if trained else None,
            flops=progress.views * (progress.flops or 0.0) if trained else None,
            peak_memory=progress.peak_memory,
            device=device_name(device) if place.ranks == 1 else f"{place.ranks} × {device_name(device)}",
            precision=progress.precision,
            attempts=len(attempts),
        ),
        provenance={**provenance(device), "attempts": attempts},
    )


def measured_before(folder: Path) -> tuple[Evaluation, ...]:
    """The evaluations of a run's record; they are not made again as long as its backbone is there."""
    record = store.read_run(folder).record
    if record is None:
        return ()
    evaluations = evaluations_of(record["run"])
    if (folder / store.BACKBONE).exists():
        restore(folder, evaluations, Record.from_json(record))
    return evaluations


def note_attempt(folder: Path) -> None:
    """Add a line to the run's attempts: when, and by which code."""
    with (folder / store.ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"started": store.now(), **commit()}) + "\n")


def note_failure(folder: Path, error: Exception) -> RunFailed:
    """Store why a run failed; returns the failure to raise."""
    reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError):
        reason = f"out of memory; lower the batch with --set pretrain.batch=N ({reason.splitlines()[0]})"
    store.write_failure(folder, reason, "".join(traceback.format_exception(error)))
    return RunFailed(reason)
