"""Runs all evaluations of a pretrained backbone, and stores each result as soon as it is computed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from msgspec import structs

from protocols.backbones.inference import extract_features, images_per_batch
from protocols.datasets.contact_sheet import contact_sheet
from protocols.datasets.load import load_dataset
from protocols.evaluate.health import diagnose
from protocols.evaluate.retrieval import RetrievalResult
from protocols.features.context import EvaluationContext
from protocols.pretrain.build import build_augmenters
from protocols.refine.refiner import Refiner, store_graph_and_pictures
from protocols.spec.plugins import EVALUATIONS, METHODS, typed_options
from protocols.spec.run import CROP_PCT, IMAGE_SIZE, Run, digest_of, shortened
from protocols.system import randomness
from results.errors import DamagedFile, RequestError
from results.names import display_stage
from results.record import Health, Metric, Picture
from results.schema import build
from results.store import EVALUATIONS as EVALUATIONS_FOLDER
from results.store import read_json, remove, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from methods.base import Backbone
    from protocols.features.features import Features
    from protocols.spec.run import Component, Evaluation
    from protocols.system.progress import ProgressListener
    from results.record import Record

    JsonDict = dict[str, Any]

HEALTH_AUGMENTATION = "standard"
"""Augmentation of the views that health compares."""

HEALTH_IMAGES = 10_000
"""Images of the training split on which health is measured."""

ALIGNMENT_IMAGES = 2_000
"""Images of these of which two views are compared."""

LIDAR_IMAGES, LIDAR_VIEWS = 1_000, 10
"""Images of which so many views are compared: fewer images where the split has not as many as there would be views."""


@dataclass(frozen=True)
class StoredResult:
    """What every stored result holds.

    Attributes:
        seconds: that it took.
        run: fingerprint of the run; empty in files of earlier versions.
    """

    seconds: float
    run: str = ""


@dataclass(frozen=True)
class StoredEvaluation(StoredResult):
    """The result of an evaluation; ``pictures`` are paths within the run's folder."""

    metrics: tuple[Metric, ...] = field(kw_only=True)
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredRefinement(StoredResult):
    """What a refinement leaves: ``pictures`` are paths within the run's folder."""

    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredHealth(StoredResult):
    """The health of a representation."""

    health: Health = field(kw_only=True)


S = TypeVar("S", bound=StoredResult)


@dataclass(frozen=True)
class Measurements:
    """Results of all evaluations of a backbone.

    Attributes:
        health: of its representation of the data set it was pretrained on.
        metrics: of all evaluations.
        pictures: drawn by evaluations and refinements.
        seconds: of each evaluation and refinement, by name.
    """

    health: Health
    metrics: tuple[Metric, ...]
    pictures: tuple[Picture, ...]
    seconds: dict[str, float]


class Evaluator:
    """Evaluates one backbone.

    Args:
        run: that the backbone belongs to.
        folder: of the run.
        backbone: with its trained weights, on its device.
        data: folder of the data sets.
        listener: receives the progress.
    """

    def __init__(self, run: Run, folder: Path, backbone: Backbone, data: Path, listener: ProgressListener) -> None:
        self.run = run
        self.fingerprint = run.fingerprint()
        self.folder = folder
        self.backbone = backbone
        self.data = data
        self.listener = listener
        self.refiner = Refiner(run, folder)
        method = METHODS.get(run.method.name)
        options = build(method.Options, run.method.options, run.method.name)
        self.image_side = method.image_side(options)
        self.image_statistics = method.image_statistics(options, backbone)
        self._context: EvaluationContext | None = None

    def context(self, dataset: str, image_size: int | None = None, crop_pct: float | None = None) -> EvaluationContext:
        """The backbone with a data set, whose images are resized and cropped if asked; the last one stays in memory.

        Weights that were trained elsewhere may have a size and a normalisation of their own.
        """
        image_size = image_size or self.image_side
        context = self._context
        key = dataset, image_size, crop_pct
        if context is None or (context.dataset.name, context.image_size, context.crop_pct) != key:
            loaded = load_dataset(dataset, self.data)
            if self.image_statistics:
                mean, std = self.image_statistics
                loaded = replace(loaded, mean=mean, std=std)
            augmenters = build_augmenters(self.run, loaded, size=image_size)
            context = EvaluationContext(
                self.backbone, loaded, augmenters, self.run.seed, self.listener, image_size, crop_pct
            )
            self._context = context
        return context

    def context_of(self, evaluation: Evaluation) -> EvaluationContext:
        """The backbone with the data set of an evaluation, as it sees the images."""
        return self.context(evaluation.dataset.name, evaluation.image_size, evaluation.crop_pct)

    def features(self, evaluation: Evaluation) -> Features | None:
        """Features that an evaluation measures; None if its refinement does not apply to the method."""
        context = self.context_of(evaluation)
        return self.refiner.refine(context, evaluation.refinement) if evaluation.refinement else context.features

    def measure(self) -> Measurements:
        """Run all evaluations of the run whose results are not stored yet.

        Raises:
            Diverged: the representation is not finite.
            KeyboardInterrupt: the listener asked to stop; finished results are stored.
        """
        (self.folder / EVALUATIONS_FOLDER).mkdir(exist_ok=True)
        evaluations = self.run.evaluations
        self._report(0, "health")
        health = self._health()
        metrics, pictures, seconds = list[Metric](), list[Picture](), {"health": health.seconds}
        for done, evaluation in enumerate(evaluations, start=1):
            if self.listener.stopping():
                raise KeyboardInterrupt
            name, dataset, refinement = self.run.evaluation_name(evaluation), evaluation.dataset, evaluation.refinement
            size = f" at {evaluation.image_size} px" if evaluation.image_size else ""
            size += f", crop {evaluation.crop_pct:g}" if evaluation.crop_pct else ""
            report = partial(self._report, done, display_stage(name))
            report()
            if refinement:
                refined = self._refinement(evaluation, refinement)
                seconds[self.run.with_dataset(f"{refinement.label}{size}", dataset)] = refined.seconds
                pictures += [Picture(refinement.label, dataset.name, file) for file in refined.pictures]
            path = evaluation_path(self.folder, evaluation)
            stored = self._load_or_compute(path, StoredEvaluation, partial(self._evaluate, evaluation, report))
            seconds[name] = stored.seconds
            after = refinement.label if refinement else ""
            metrics += [structs.replace(metric, label=evaluation.label, refinement=after) for metric in stored.metrics]
            pictures += [Picture(evaluation.label, dataset.name, file) for file in stored.pictures]
        self._report(1 + len(evaluations))
        return Measurements(health.health, tuple(metrics), tuple(dict.fromkeys(pictures)), seconds)

    def _report(self, done: int, note: str = "") -> None:
        """Say how many evaluations are done and which is next, and leave a nested stage."""
        self.listener.stage("evaluate", 1 + len(self.run.evaluations), done)
        self.listener.progress(done, note)

    def _refinement(self, evaluation: Evaluation, refinement: Component) -> StoredRefinement:
        path = refinement_path(self.folder, refinement, evaluation)

        def compute() -> JsonDict:
            refined = self.features(evaluation)
            if refined is None:
                return {"pictures": []}
            context = self.context_of(evaluation)
            pictures = store_graph_and_pictures(context, refined, path.with_suffix(""))
            return {"pictures": [str(picture.relative_to(self.folder)) for picture in pictures]}

        return self._load_or_compute(path, StoredRefinement, compute)

    def _evaluate(self, evaluation: Evaluation, report: Callable[[], None]) -> JsonDict:
        function = EVALUATIONS.get(evaluation.name)
        context = self.context_of(evaluation)
        options = typed_options(function, evaluation.own_options, evaluation.name)
        transductive = False
        if EVALUATIONS.describe(evaluation.name).declared["takes"] == "context":
            result = function(context, **options)
        else:
            features = self.features(evaluation)
            if features is None:
                return {"metrics": []}
            report()
            result, transductive = function(features, **options), features.transductive
        metrics = [
            Metric(
                evaluation=evaluation.name,
                label=evaluation.label,
                dataset=evaluation.dataset.name,
                split="test",
                metric=name,
                value=value,
                n=len(context.dataset.test),
                refinement=evaluation.refinement.label if evaluation.refinement else "",
                transductive=transductive,
            )
            for name, value in (result.metrics if isinstance(result, RetrievalResult) else result).items()
        ]
        pictures = []
        if isinstance(result, RetrievalResult):
            path = evaluation_path(self.folder, evaluation).with_suffix(".png")
            picture = contact_sheet(context.dataset, result.queries, result.neighbours)
            write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
            pictures.append(str(path.relative_to(self.folder)))
        return {"metrics": [structs.asdict(metric) for metric in metrics], "pictures": pictures}

    def _health(self) -> StoredHealth:
        path = self.folder / EVALUATIONS_FOLDER / f"health-{digest_of({'version': 2})[:8]}.json"

        def compute() -> JsonDict:
            context = self.context(self.run.dataset.name)
            features = context.features.train[:HEALTH_IMAGES]
            available = len(context.dataset.pretrain)
            images = torch.from_numpy(context.dataset.pretrain.images[:ALIGNMENT_IMAGES]).to(context.device)
            few = max(1, min(LIDAR_IMAGES, available // LIDAR_VIEWS))
            views = []
            self.listener.stage("views", LIDAR_VIEWS)
            for number in range(LIDAR_VIEWS):
                self.listener.advance_or_stop(number)
                views.append(self._features_of_view(context, images, len(images) if number < 2 else few, number))
            several = torch.stack([view[:few] for view in views], dim=1)
            health = diagnose(features, views[0], views[1], several)
            return {"health": structs.asdict(health)}

        return self._load_or_compute(path, StoredHealth, compute)

    def _features_of_view(self, context: EvaluationContext, images: Tensor, count: int, number: int) -> Tensor:
        """Features (count, dim) of one of several views of the first images; few views at a time are in memory."""
        augmenter, key = context.augmenters[HEALTH_AUGMENTATION], randomness.key(self.run.seed, "health")
        features = []
        pixels = (augmenter.augmentation.size or images.shape[1]) ** 2
        for index in torch.arange(count).split(images_per_batch(pixels, context.device)):
            u = randomness.uniforms(key, index.numpy() + number * 2**40, augmenter.columns)
            views = augmenter(images, index, u)
            features.append(extract_features(self.backbone, views, lambda some: some, context.device))
        return torch.cat(features)

    def _load_or_compute(self, path: Path, kind: type[S], compute: Callable[[], JsonDict]) -> S:
        """Read a stored result; if it does not exist, store that of ``compute`` and the ``seconds`` it took.

        What is damaged, or belongs to another run, is computed again.

        Args:
            path: of the result.
            kind: what it is.
            compute: returns the values of ``kind`` without those of ``StoredResult``.
        """
        stored, problem = None, ""
        try:
            values = read_json(path)
            stored = None if values is None else build(kind, values, "it")
        except (DamagedFile, RequestError) as error:
            problem = error.message
        if stored is not None and stored.run not in ("", self.fingerprint):
            stored, problem = None, "it belongs to another run"
        if problem:
            self.listener.warn(f"{path} cannot be used: {problem}; it is measured again")
            remove(path)
        if stored is None:
            start = time.perf_counter()
            values = {**compute(), "run": self.fingerprint}
            values["seconds"] = time.perf_counter() - start
            stored = build(kind, values, str(path))
            write_json(path, values)
        return stored


def evaluation_path(folder: Path, evaluation: Evaluation) -> Path:
    """Path of a stored evaluation in a run's folder."""
    refinement = [evaluation.refinement.name] if evaluation.refinement else []
    return result_path([evaluation.name, evaluation.dataset.name, *refinement], evaluation.identity(), folder)


def refinement_path(folder: Path, refinement: Component, evaluation: Evaluation) -> Path:
    """Path of a refinement's duration and list of pictures in a run's folder, as an evaluation sees the images."""
    dataset, images = evaluation.dataset, {IMAGE_SIZE: evaluation.image_size, CROP_PCT: evaluation.crop_pct}
    identity: JsonDict = {"refinement": refinement.identity(), "dataset": dataset.identity()}
    identity |= {option: value for option, value in images.items() if value is not None}
    return result_path([refinement.name, dataset.name], identity, folder)


def result_path(names: Sequence[str], identity: JsonDict, folder: Path) -> Path:
    """Path of a file named by ``names`` and a digest of the identity of its content."""
    stem = shortened("-".join(names).replace(":", "_").replace("/", "_"), 120)
    return folder / EVALUATIONS_FOLDER / f"{stem}-{digest_of(identity)[:8]}.json"


def restore_evaluations(folder: Path, evaluations: Iterable[Evaluation], record: Record) -> None:
    """Write results of a record to the files of :func:`evaluation_path`, unless they exist."""
    run = Run.from_config({**record.run, "evaluations": ()})
    (folder / EVALUATIONS_FOLDER).mkdir(exist_ok=True)
    for evaluation in evaluations:
        path, dataset = evaluation_path(folder, evaluation), evaluation.dataset.name
        if path.exists():
            continue
        refinement = evaluation.refinement.label if evaluation.refinement else ""
        key = evaluation.label, dataset, refinement
        write_json(
            path,
            {
                "metrics": [structs.asdict(m) for m in record.metrics if (m.label, m.dataset, m.refinement) == key],
                "pictures": [p.file for p in record.pictures if (p.label, p.dataset) == key[:2] and not refinement],
                "seconds": record.cost.seconds.get(run.evaluation_name(evaluation), 0.0),
                "run": run.fingerprint(),
            },
        )
