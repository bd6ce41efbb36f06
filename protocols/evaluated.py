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
from protocols.refined import Refiner, keep
from protocols.run import Run, digest_of
from results.record import Health, Metric, Picture
from results.store import EVALUATIONS, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from methods.base import Backbone
    from protocols.evaluate.features import Features
    from protocols.run import Evaluation, Part
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
        pictures: that some of them, and refinements, made.
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
        self.refiner = Refiner(run, folder)

    def subject(self, dataset: str) -> Subject:
        """The backbone beside a data set; the last one stays in memory, with its features."""
        if self._subject is None or self._subject.dataset.name != dataset:
            loaded = load_dataset(dataset, self.data)
            views = augmenters(self.run, loaded)
            self._subject = Subject(self.backbone, loaded, views, self.run.seed, self.watch)
        return self._subject

    def features(self, dataset: Part, refinement: Part | None) -> Features | None:
        """Features of a data set after a refinement, if any; None if the method offers nothing for it."""
        subject = self.subject(dataset.name)
        return self.refiner.refined(subject, refinement) if refinement else subject.features

    def measure(self) -> Measured:
        """Everything the run asks for; what is stored already is not measured again.

        Raises:
            Diverged: the representation is not a number.
            KeyboardInterrupt: the watch asked to stop; what is measured is kept.
        """
        (self.folder / EVALUATIONS).mkdir(exist_ok=True)
        wanted = self.run.evaluations
        self.watch.stage("evaluate", 1 + len(wanted))
        self.watch.progress(0, "health")
        health = self._health()
        metrics, pictures, seconds = [], [], {"health": health["seconds"]}
        for done, evaluation in enumerate(wanted, start=1):
            if self.watch.stopping():
                raise KeyboardInterrupt
            name, dataset, refinement = self.run.name_of(evaluation), evaluation.dataset, evaluation.refinement
            self.watch.stage("evaluate", 1 + len(wanted), done)  # some evaluations have stages of their own
            self.watch.progress(done, name)
            if refinement:
                shown = self._refinement(dataset, refinement)
                seconds[self.run.located(refinement.label, dataset)] = shown["seconds"]
                pictures += [Picture(refinement.label, dataset.name, file) for file in shown["pictures"]]
            stored = kept(path_of(self.folder, evaluation), partial(self._evaluate, evaluation))
            seconds[name] = stored["seconds"]
            labels = {"label": evaluation.label, "refinement": refinement.label if refinement else ""}
            metrics += [Metric(**{**metric, **labels}) for metric in stored["metrics"]]
            pictures += [Picture(evaluation.label, dataset.name, file) for file in stored.get("pictures", ())]
        self.watch.progress(1 + len(wanted))
        return Measured(Health(**health["health"]), tuple(metrics), tuple(dict.fromkeys(pictures)), seconds)

    def _refinement(self, dataset: Part, refinement: Part) -> Table:
        path = path_of_refinement(self.folder, refinement, dataset)

        def measure() -> Table:
            after = self.features(dataset, refinement)
            pictures = keep(self.subject(dataset.name), after, path.with_suffix("")) if after else []
            return {"pictures": [str(picture.relative_to(self.folder)) for picture in pictures]}

        return kept(path, measure)

    def _evaluate(self, evaluation: Evaluation) -> Table:
        function = evaluations.get(evaluation.name)
        if takes_subject(function):
            return self._measured(evaluation, function(self.subject(evaluation.dataset.name), **evaluation.options))
        features = self.features(evaluation.dataset, evaluation.refinement)
        if features is None:
            return {"metrics": []}
        found = function(features, **evaluation.options)
        return self._measured(evaluation, found, transductive=features.transductive)

    def _measured(
        self, evaluation: Evaluation, found: dict[str, float] | Shown, *, transductive: bool = False
    ) -> Table:
        values = found.metrics if isinstance(found, Shown) else found
        n = len(self.subject(evaluation.dataset.name).dataset.test)
        metrics = metrics_of(evaluation, values, n, transductive=transductive)
        return {
            "metrics": [asdict(metric) for metric in metrics],
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


def metrics_of(evaluation: Evaluation, values: Mapping[str, float], n: int, *, transductive: bool) -> list[Metric]:
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
            refinement=evaluation.refinement.label if evaluation.refinement else "",
            transductive=transductive,
        )
        for name, value in values.items()
    ]


def path_of(folder: Path, evaluation: Evaluation) -> Path:
    """Where a run's folder keeps an evaluation."""
    refinement = [evaluation.refinement.name] if evaluation.refinement else []
    return file_of(folder, [evaluation.name, evaluation.dataset.name, *refinement], evaluation.identity())


def path_of_refinement(folder: Path, refinement: Part, dataset: Part) -> Path:
    """Where a run's folder keeps what a refinement took, beside its graph and pictures."""
    identity = {"refinement": refinement.identity(), "dataset": dataset.identity()}
    return file_of(folder, [refinement.name, dataset.name], identity)


def file_of(folder: Path, names: Sequence[str], identity: Table) -> Path:
    """A file of which the name tells what it holds."""
    words = "-".join(names).replace(":", "_").replace("/", "_")
    return folder / EVALUATIONS / f"{words}-{digest_of(identity)[:8]}.json"


def restore(folder: Path, evaluations: Iterable[Evaluation], record: Record) -> None:
    """Put what a record holds of some evaluations back to where :func:`path_of` looks for it, if it is not there."""
    run = Run.from_config({**record.run, "evaluations": ()})
    (folder / EVALUATIONS).mkdir(exist_ok=True)
    for evaluation in evaluations:
        path, name, dataset = path_of(folder, evaluation), run.name_of(evaluation), evaluation.dataset.name
        if path.exists():
            continue
        refinement = evaluation.refinement.label if evaluation.refinement else ""
        place = evaluation.label, dataset, refinement
        write_json(
            path,
            {
                "metrics": [asdict(m) for m in record.metrics if (m.label, m.dataset, m.refinement) == place],
                "pictures": [p.file for p in record.pictures if (p.label, p.dataset) == place[:2] and not refinement],
                "seconds": record.cost.seconds.get(name, 0.0),
            },
        )


def kept(path: Path, measure: Callable[[], Table]) -> Table:
    """What a file holds; if there is none, what is measured now, and how many ``seconds`` that took."""
    stored: Table | None = read_json(path)
    if stored is None:
        start = time.perf_counter()
        stored = measure()
        stored["seconds"] = time.perf_counter() - start
        write_json(path, stored)
    return stored
