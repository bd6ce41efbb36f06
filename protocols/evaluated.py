"""What is measured of a pretrained backbone; every measurement is kept as soon as it is made."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from protocols import randomness
from protocols.augment.draw import COLUMNS
from protocols.evaluate import registry as evaluations
from protocols.evaluate.features import Features, extract, represent
from protocols.evaluate.health import diagnose
from protocols.run import digest_of
from results.errors import Diverged
from results.record import Health, Metric
from results.store import EVALUATIONS, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from methods.base import Backbone
    from protocols.augment import Augmenter
    from protocols.datasets.base import Dataset
    from protocols.run import Part, Run
    from protocols.watch import Watch

    Table = dict[str, Any]

HEALTH_IMAGES = 10_000
"""Images of the training split on which health is measured."""

PAIRS = 2_000
"""Of those, images of which two views are compared."""


class Evaluator:
    """Measures one backbone.

    Args:
        run: whose it is.
        folder: of the run.
        backbone: with its trained weights, on its device.
        dataset: what it is evaluated on.
        augmenter: makes the views by which alignment is judged.
    """

    def __init__(self, run: Run, folder: Path, backbone: Backbone, dataset: Dataset, augmenter: Augmenter) -> None:
        self.run = run
        self.folder = folder / EVALUATIONS
        self.backbone = backbone
        self.dataset = dataset
        self.augmenter = augmenter
        self.device = next(backbone.parameters()).device

    @cached_property
    def features(self) -> Features:
        """Frozen features of the data set, computed when first needed.

        Raises:
            Diverged: they are not numbers.
        """
        features = extract(self.backbone, self.dataset, self.device, self.run.seed)
        if not (features.train.isfinite().all() and features.test.isfinite().all()):
            raise Diverged("the representation is not a number", hint="try a lower learning rate")
        return features

    def measure(self, watch: Watch) -> tuple[Health, list[Metric], dict[str, float]]:
        """Health, metrics, and the seconds that each took; what is stored already is not measured again."""
        self.folder.mkdir(exist_ok=True)
        parts = self.run.evaluations
        watch.stage("evaluate", 1 + len(parts))
        health, seconds = self._health(), {}
        seconds["health"] = health["seconds"]
        metrics = []
        for done, part in enumerate(parts, start=1):
            watch.progress(done, part.label)
            stored = self._evaluate(part)
            seconds[part.label] = stored["seconds"]
            metrics += [Metric(**metric) for metric in stored["metrics"]]
        watch.progress(1 + len(parts))
        return Health(**health["health"]), metrics, seconds

    def _kept(self, name: str, identity: Table, measure: Callable[[], Table]) -> Table:
        path = self.folder / f"{name}-{digest_of(identity)[:8]}.json"
        kept: Table | None = read_json(path)
        if kept is None:
            start = time.perf_counter()
            kept = measure()
            kept["seconds"] = time.perf_counter() - start
            write_json(path, kept)
        return kept

    def _evaluate(self, part: Part) -> Table:
        return self._kept(
            f"{part.name}-{self.dataset.name.replace(':', '_').replace('/', '_')}",
            {**part.identity(), "dataset": self.dataset.name},
            lambda: {"metrics": [asdict(metric) for metric in self._metrics(part)]},
        )

    def _metrics(self, part: Part) -> list[Metric]:
        values = evaluations.get(part.name)(self.features, **part.options)
        return [
            Metric(
                evaluation=part.name,
                label=part.label,
                dataset=self.dataset.name,
                split="test",
                metric=name,
                value=value,
                n=len(self.features.test),
            )
            for name, value in values.items()
        ]

    def _health(self) -> Table:
        return self._kept("health", {"version": 1}, lambda: {"health": asdict(self._diagnose())})

    def _diagnose(self) -> Health:
        images = torch.from_numpy(self.dataset.pretrain.images[:PAIRS])
        index = torch.arange(len(images))
        views = []
        for number in range(2):
            rows = index.numpy() + number * 2**40
            u = randomness.uniforms(randomness.key(self.run.seed, "health"), rows, COLUMNS)
            made = self.augmenter(images.to(self.device), index, u)
            views.append(represent(self.backbone, made, lambda some: some, self.device))
        return diagnose(self.features.train[:HEALTH_IMAGES], *views)
