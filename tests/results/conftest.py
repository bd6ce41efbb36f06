"""Runs as a real run leaves them: a resolved configuration, and a record or a failure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from results.record import Cost, Health, Metric, Record
from results.store import CONFIG, FAILURE, RECORD, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Table = dict[str, Any]


def component(name: str, label: str = "", **changes: Any) -> Table:
    return {"name": name, "version": 1, "options": {}, "label": label or name, "digest": "", **changes}


def config_of(
    *,
    method: str = "simclr",
    method_label: str = "",
    dataset: str = "shapes",
    backbone: str = "conv4",
    protocol: str = "quick",
    label: str = "",
    fairness: str = "controlled",
    seed: int = 0,
    epochs: float | None = None,
    views: int | None = 160_000,
    flops: float | None = None,
    evaluations: tuple[str, ...] = ("linear", "knn"),
    evaluate_on: tuple[str, ...] = (),
    lr: float = 1e-3,
    **method_changes: Any,
) -> Table:
    """A resolved run in stored names, as a run writes it."""
    config = {
        "protocol": protocol,
        "version": 1,
        "track": fairness,
        "label": label or protocol,
        "method": component(method, method_label, **method_changes),
        "dataset": component(dataset),
        "backbone": component(backbone),
        "seed": seed,
        "pretrain": {"epochs": epochs, "views": None if epochs else views, "batch": 128, "lr": lr},
        "recipes": {"standard": {"crop": [0.2, 1.0], "flip": 0.5}},
        "evaluations": [
            component(label.partition("[")[0], label, dataset=component(target))
            for target in evaluate_on or [dataset]
            for label in evaluations
        ],
        "plugins": [],
    }
    if flops:
        config["pretrain"] |= {"epochs": None, "views": None, "flops": flops}
    text = json.dumps(config, sort_keys=True)
    return {**config, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}


def record_of(
    config: Table,
    values: Mapping[str, float],
    *,
    evaluated_on: str = "",
    warning: str = "",
    seconds: float = 20.0,
    epochs_seen: int = 4,
    loss: float = 4.0,
    gpu_seconds: float | None = None,
    energy: float | None = None,
    **provenance: Any,
) -> Record:
    """The record of a finished run.

    Args:
        config: the resolved run.
        values: top-1 accuracy in percent by label of the evaluation; ``linear/top5`` for another metric,
            ``linear@cifar100`` for another data set than ``evaluated_on``; ``linear>graph`` after a refinement.
        evaluated_on: data set; by default the run's.
        warning: of its health.
        seconds: of pretraining.
        epochs_seen: length of its history.
        loss: of the first epoch.
        gpu_seconds: of its cost.
        energy: of its cost, in joules.
        provenance: changes to it.
    """
    trained = config["method"]["name"] != "random"
    views = (config["pretrain"]["views"] or 160_000) if trained else 0
    metrics = []
    for key, value in values.items():
        measure, _, refinement = key.partition(">")
        name, _, where = measure.partition("@")
        label, _, metric = name.partition("/")
        where = where or evaluated_on or config["dataset"]["name"]
        refined = refinement, refinement == "transductive"
        metrics.append(Metric(label.partition("[")[0], label, where, "test", metric or "top1", value, 2000, *refined))
    history = [
        {
            "epoch": e,
            "loss": loss / e,
            "lr": 1e-3,
            "views": views * e // epochs_seen,
            "seconds": seconds * e / epochs_seen,
        }
        for e in range(1, epochs_seen + 1)
        if trained
    ]
    return Record(
        run=config,
        metrics=tuple(metrics),
        history=tuple(history),
        health=Health(0.9, 40.0, 0.5, -2.5, 2000, 64, warning),
        cost=Cost(
            views=views,
            steps=views // 128,
            seconds={"pretrain": seconds if trained else 0.0, "features": 1.0, "linear": 2.0},
            views_per_second=views / seconds if trained else None,
            flops=views * 3e6 if trained else None,
            peak_memory=2**29,
            device="Some CPU",
            precision="float32",
            attempts=1,
            gpu_seconds=gpu_seconds,
            energy=energy,
        ),
        provenance={
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": False,
            "bench": "0.1.0",
            "python": "3.11.7",
            "packages": {"torch": "2.6.0"},
            "processor": "Some CPU",
            "device": "Some CPU, 2 threads",
            "cores": 2,
            "system": "Linux x86_64",
            "command": "bench run --methods simclr",
            "finished": "2025-01-01T00:00:00+00:00",
            **provenance,
        },
    )


class Store(Protocol):
    """Puts a run into a runs folder; see ``store``."""

    def __call__(
        self, values: Mapping[str, float] | None = None, *, failure: Table | None = None, **options: Any
    ) -> Path: ...


RECORD_OPTIONS = (
    *("evaluated_on", "warning", "seconds", "epochs_seen", "loss", "gpu_seconds", "energy"),
    *("commit", "dirty", "command"),
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def store(runs: Path) -> Store:
    """Store a run: done with ``values``, failed with ``failure``, else unfinished; other options as above."""

    def put(values: Mapping[str, float] | None = None, *, failure: Table | None = None, **options: Any) -> Path:
        measured = {key: options.pop(key) for key in RECORD_OPTIONS if key in options}
        config = config_of(**options)
        names = [config[key]["name"] for key in ("dataset", "backbone", "method")]
        folder = runs / "-".join([*names, f"s{config['seed']}", config["fingerprint"][:8]])
        folder.mkdir()
        write_json(folder / CONFIG, config)
        if values is not None:
            write_json(folder / RECORD, record_of(config, values, **measured).to_json())
        if failure is not None:
            write_json(folder / FAILURE, failure)
        return folder

    return put
