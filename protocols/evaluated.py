"""What is measured of a pretrained backbone; every measurement is kept as soon as it is made."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from protocols import randomness
from protocols.augment.draw import COLUMNS
from protocols.datasets.load import load_dataset
from protocols.evaluate import registry as evaluations
from protocols.evaluate.features import represent
from protocols.evaluate.health import diagnose
from protocols.evaluate.subject import Subject
from protocols.pretrained import augmenters
from protocols.run import digest_of
from results.record import Health, Metric
from results.store import EVALUATIONS, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from methods.base import Backbone
    from protocols.run import Evaluation, Run
    from protocols.watch import Watch

    Table = dict[str, Any]

HEALTH_IMAGES = 10_000
"""Images of the training split on which health is measured."""

PAIRS = 2_000
"""Of those, images of which two views are compared."""


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of a backbone.

    Attributes:
        health: of its representation of what it was pretrained on.
        metrics: of all evaluations.
        seconds: that each took.
    """

    health: Health
    metrics: tuple[Metric, ...]
    seconds: dict[str, float]


class Evaluator:
    """Measures one backbone.

    Args:
        run: whose it is.
        folder: of the run.
        backbone: with its trained weights, on its device.
        data: folder of the data sets.
        watch: hears how far it is.
    """

    def __init__(self, run: Run, folder: Path, backbone: Backbone, data: Path, watch: Watch) -> None:
        self.run = run
        self.folder = folder
        self.backbone = backbone
        self.data = data
        self.watch = watch
        self._subject: Subject | None = None

    def subject(self, dataset: str) -> Subject:
        """The backbone beside a data set; the last one stays in memory, with its features."""
        if self._subject is None or self._subject.dataset.name != dataset:
            loaded = load_dataset(dataset, self.data)
            views = augmenters(self.run, loaded)
            self._subject = Subject(self.backbone, loaded, views, self.run.seed, self.watch)
        return self._subject

    def measure(self) -> Measured:
        """Everything the run asks for; what is stored already is not measured again.

        Raises:
            Diverged: the representation is not a number.
            KeyboardInterrupt: the watch asked to stop; what is measured is kept.
        """
        (self.folder / EVALUATIONS).mkdir(exist_ok=True)
        wanted = self.run.evaluations
        self.watch.stage("evaluate", 1 + len(wanted))
        health = self._health()
        seconds, metrics = {"health": health["seconds"]}, []
        for done, evaluation in enumerate(wanted, start=1):
            if self.watch.stopping():
                raise KeyboardInterrupt
            name = self.run.name_of(evaluation)
            self.watch.progress(done, name)
            stored = self._evaluate(evaluation)
            seconds[name] = stored["seconds"]
            metrics += [Metric(**{**metric, "label": evaluation.label}) for metric in stored["metrics"]]
        self.watch.progress(1 + len(wanted))
        return Measured(Health(**health["health"]), tuple(metrics), seconds)

    def _evaluate(self, evaluation: Evaluation) -> Table:
        return kept(
            path_of(self.folder, evaluation),
            lambda: {"metrics": [asdict(metric) for metric in self._metrics(evaluation)]},
        )

    def _metrics(self, evaluation: Evaluation) -> list[Metric]:
        subject = self.subject(evaluation.dataset.name)
        values = evaluations.get(evaluation.name)(subject.features, **evaluation.options)
        return [
            Metric(
                evaluation=evaluation.name,
                label=evaluation.label,
                dataset=evaluation.dataset.name,
                split="test",
                metric=name,
                value=value,
                n=len(subject.dataset.test),
            )
            for name, value in values.items()
        ]

    def _health(self) -> Table:
        path = self.folder / EVALUATIONS / f"health-{digest_of({'version': 1})[:8]}.json"
        return kept(path, lambda: {"health": asdict(self._diagnose())})

    def _diagnose(self) -> Health:
        subject = self.subject(self.run.dataset.name)
        images = torch.from_numpy(subject.dataset.pretrain.images[:PAIRS])
        index = torch.arange(len(images))
        views = []
        for number in range(2):
            rows = index.numpy() + number * 2**40
            u = randomness.uniforms(randomness.key(self.run.seed, "health"), rows, COLUMNS)
            made = subject.augmenters["standard"](images.to(subject.device), index, u)
            views.append(represent(self.backbone, made, lambda some: some, subject.device))
        return diagnose(subject.features.train[:HEALTH_IMAGES], *views)


def path_of(folder: Path, evaluation: Evaluation) -> Path:
    """Where a run's folder keeps an evaluation."""
    dataset = evaluation.dataset.name.replace(":", "_").replace("/", "_")
    return folder / EVALUATIONS / f"{evaluation.name}-{dataset}-{digest_of(evaluation.identity())[:8]}.json"


def kept(path: Path, measure: Callable[[], Table]) -> Table:
    """What a file holds; if there is none, what is measured now, and how many ``seconds`` that took."""
    stored: Table | None = read_json(path)
    if stored is None:
        start = time.perf_counter()
        stored = measure()
        stored["seconds"] = time.perf_counter() - start
        write_json(path, stored)
    return stored
