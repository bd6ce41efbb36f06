"""Folders of many finished runs, as a large grid leaves them: ``python -m tests.tools.many_records FOLDER 10000``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from protocols.spec.grid import Request, expand
from results.record import Cost, Health, Metric, Record
from results.store import CONFIG, RECORD, write_json

if TYPE_CHECKING:
    from protocols.spec.run import Run

METHODS = ("simclr", "byol", "relational", "random", "supervised")
EVALUATIONS = tuple(f"knn[k={k}]" for k in range(1, 21))
EPOCHS = 50


def request(count: int) -> Request:
    """The grid of so many runs, a multiple of five, with twenty evaluations each."""
    seeds = range(count // len(METHODS))
    return Request(methods=METHODS, datasets=["digits"], seeds=seeds, evaluations=EVALUATIONS)


def command(count: int) -> list[str]:
    """The options of the command line for :func:`request`."""
    words = {"methods": ",".join(METHODS), "datasets": "digits", "evaluations": ",".join(EVALUATIONS)}
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    return [*options, "--seeds", f"0-{count // len(METHODS) - 1}"]


def write_records(folder: Path, count: int) -> None:
    """Write the finished runs of :func:`request` to a runs folder, without waiting for the disk."""
    with mock.patch("os.fsync"):
        for number, run in enumerate(expand(request(count), folder)):
            path, config = folder / run.folder(), run.config()
            path.mkdir(parents=True)
            write_json(path / CONFIG, config)
            write_json(path / RECORD, record_of(run, number).to_json())


def record_of(run: Run, number: int) -> Record:
    """A record of a run with numbers that depend on its number."""
    metrics = tuple(
        Metric(part.name, part.label, part.dataset.name, "test", name, 50 + (number * 7 + position) % 400 / 10, 500)
        for position, part in enumerate(run.evaluations)
        for name in ("top1", "top5")
    )
    history = tuple(
        {"epoch": epoch, "loss": 5 / (1 + epoch), "lr": 0.001, "views": 2594 * (epoch + 1), "seconds": 1.5 * epoch}
        for epoch in range(EPOCHS)
    )
    return Record(
        run=run.config(),
        metrics=metrics,
        history=history,
        health=Health(std=0.9, rankme=20.0, alignment=0.5, uniformity=-1.0, n=1297, dim=64),
        cost=Cost(129700, 500, {"pretrain": 75.0}, 1700.0, 1e12, 2**30, "CPU", "float32", 1),
        provenance={"bench": "1", "python": "3.11", "packages": {"torch": "2"}, "commit": "0" * 40},
    )


if __name__ == "__main__":
    write_records(Path(sys.argv[1]), int(sys.argv[2]))
