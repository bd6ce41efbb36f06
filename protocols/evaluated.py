"""What is measured of a pretrained backbone; every measurement is kept as soon as it is made."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from protocols import randomness
from protocols.augment.draw import COLUMNS
from protocols.datasets.load import load_dataset
from protocols.evaluate import registry as evaluations
from protocols.evaluate import takes_subject
from protocols.evaluate.features import represent
from protocols.evaluate.health import diagnose
from protocols.evaluate.sheet import Shown, draw
from protocols.evaluate.subject import Subject
from protocols.pretrained import augmenters
from protocols.run import Run, digest_of
from results.record import Health, Metric, Picture
from results.store import EVALUATIONS, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from methods.base import Backbone
    from protocols.run import Evaluation
    from protocols.watch import Watch
    from results.record import Record

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
        pictures: that some of them made.
        seconds: that each took.
    """

    health: Health
    metrics: tuple[Metric, ...]
    pictures: tuple[Picture, ...]
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
        metrics, pictures, seconds = [], [], {"health": health["seconds"]}
        for done, evaluation in enumerate(wanted, start=1):
            if self.watch.stopping():
                raise KeyboardInterrupt
            name, place = self.run.name_of(evaluation), (evaluation.label, evaluation.dataset.name)
            self.watch.stage("evaluate", 1 + len(wanted))  # some evaluations have stages of their own
            self.watch.progress(done, name)
            stored = kept(path_of(self.folder, evaluation), partial(self._evaluate, evaluation))
            seconds[name] = stored["seconds"]
            metrics += [Metric(**{**metric, "label": evaluation.label}) for metric in stored["metrics"]]
            pictures += [Picture(*place, file) for file in stored.get("pictures", ())]
        self.watch.progress(1 + len(wanted))
        return Measured(Health(**health["health"]), tuple(metrics), tuple(pictures), seconds)

    def _evaluate(self, evaluation: Evaluation) -> Table:
        subject, function = self.subject(evaluation.dataset.name), evaluations.get(evaluation.name)
        found = function(subject if takes_subject(function) else subject.features, **evaluation.options)
        metrics = found.metrics if isinstance(found, Shown) else found
        return {
            "metrics": [asdict(metric) for metric in metrics_of(evaluation, metrics, len(subject.dataset.test))],
            "pictures": [self._draw(evaluation, found)] if isinstance(found, Shown) else [],
        }

    def _draw(self, evaluation: Evaluation, shown: Shown) -> str:
        path = path_of(self.folder, evaluation).with_suffix(".png")
        sheet = draw(self.subject(evaluation.dataset.name).dataset, shown.queries, shown.neighbours)
        write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))
        return str(path.relative_to(self.folder))

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


def metrics_of(evaluation: Evaluation, values: Mapping[str, float], n: int) -> list[Metric]:
    """What an evaluation measured on the ``n`` images of a test split."""
    return [
        Metric(
            evaluation=evaluation.name,
            label=evaluation.label,
            dataset=evaluation.dataset.name,
            split="test",
            metric=name,
            value=value,
            n=n,
        )
        for name, value in values.items()
    ]


def path_of(folder: Path, evaluation: Evaluation) -> Path:
    """Where a run's folder keeps an evaluation."""
    dataset = evaluation.dataset.name.replace(":", "_").replace("/", "_")
    return folder / EVALUATIONS / f"{evaluation.name}-{dataset}-{digest_of(evaluation.identity())[:8]}.json"


def restore(folder: Path, evaluations: Iterable[Evaluation], record: Record) -> None:
    """Put what a record holds of some evaluations back to where :func:`path_of` looks for it, if it is not there."""
    run = Run.from_config({**record.run, "evaluations": ()})
    (folder / EVALUATIONS).mkdir(exist_ok=True)
    for evaluation in evaluations:
        place = evaluation.label, evaluation.dataset.name
        if not path_of(folder, evaluation).exists():
            metrics = [asdict(metric) for metric in record.metrics if (metric.label, metric.dataset) == place]
            pictures = [picture.file for picture in record.pictures if (picture.label, picture.dataset) == place]
            seconds = record.cost.seconds.get(run.name_of(evaluation), 0.0)
            write_json(path_of(folder, evaluation), {"metrics": metrics, "pictures": pictures, "seconds": seconds})


def kept(path: Path, measure: Callable[[], Table]) -> Table:
    """What a file holds; if there is none, what is measured now, and how many ``seconds`` that took."""
    stored: Table | None = read_json(path)
    if stored is None:
        start = time.perf_counter()
        stored = measure()
        stored["seconds"] = time.perf_counter() - start
        write_json(path, stored)
    return stored
