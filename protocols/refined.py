"""Features after a refinement, and what a run keeps of it: the graph, and pictures of what it joins and does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from protocols import checkpoint, randomness
from protocols.evaluate.features import Stream, extract
from protocols.evaluate.sheet import draw
from protocols.neighbours import unit
from protocols.pretrained import new_backbone, placed
from protocols.refine import registry as refinements
from protocols.run import digest_of
from results.errors import Diverged
from results.store import EXTRA_STATE, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.evaluate.features import Features, Graph
    from protocols.evaluate.subject import Subject
    from protocols.run import Part, Run

STUDENT = "student."
"""Begins the names of the second network's weights among a method's keepsakes; the first is the teacher."""

SHOWN = 10
"""Test images that are shown with their neighbours, and neighbours of each, at most."""

DOTS = 2000
"""Test images on a map, at most."""


class Refiner:
    """Refines what one run's networks make of data sets; the last outcome stays in memory.

    Args:
        run: whose networks they are.
        folder: of the run.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self._given: tuple[str, Features] | None = None
        self._made: tuple[str, Features | None] | None = None

    def refined(self, subject: Subject, refinement: Part) -> Features | None:
        """Features of a data set after a refinement; None if the method offers nothing for it.

        Raises:
            Diverged: they are not numbers.
        """
        key = digest_of([subject.dataset.name, refinement.identity()])
        if self._made is None or self._made[0] != key:
            self._made = key, refine(self.given(subject), refinement)
        return self._made[1]

    def given(self, subject: Subject) -> Features:
        """Features of a data set, with all that the method has kept for a refinement."""
        name = subject.dataset.name
        if self._given is None or self._given[0] != name:
            self._given = name, with_keepsakes(subject, self.run, self.folder)
        return self._given[1]


def with_keepsakes(subject: Subject, run: Run, folder: Path) -> Features:
    """Features of a data set; with those of the method's second network, and recorded neighbours, if it kept such.

    Neighbours are those of the images that were pretrained on, and tell nothing of another data set.
    """
    kept = checkpoint.load(folder / EXTRA_STATE, subject.device) or {}
    known = subject.dataset.name == run.dataset.name and subject.dataset.unlabeled is None
    teacher, student = (kept.get(f"{name}_neighbours") if known else None for name in ("teacher", "student"))
    features = replace(subject.features, recorded=teacher, watch=subject.watch)
    weights = {name: value for name, value in kept.items() if name.startswith(STUDENT)}
    if not weights:
        return features
    network = placed(new_backbone(run), subject.device)
    network.load_state_dict({name.removeprefix(STUDENT): value for name, value in weights.items()})
    second = extract(network, subject.dataset, subject.device, run.seed)
    return replace(features, second=Stream(second.train, second.test, student))


def refine(features: Features, refinement: Part) -> Features | None:
    """Features after a refinement; see :meth:`Refiner.refined`."""
    made = refinements.get(refinement.name)(features, **refinement.options)
    if made is not None and not (made.train.isfinite().all() and made.test.isfinite().all()):
        raise Diverged(f"{refinement.label} makes features that are not numbers", hint="try a lower learning rate")
    return made


def keep(before: Subject, after: Features, base: Path) -> list[Path]:
    """Store the graph of a refinement, and draw pictures of it.

    Args:
        before: the data set with its features as they were.
        after: the refined features.
        base: path of the files but for what follows: ``.npz`` the graph, ``-neighbours.png`` test images beside those
            they are joined to, ``-map.png`` the test images before and after on their principal components.

    Returns:
        The pictures.
    """
    pictures = [keep_map(before.features, after, before.dataset.classes, base.with_name(f"{base.name}-map.png"))]
    if after.graph is not None:
        keep_graph(after.graph, base.with_name(f"{base.name}.npz"))
        pictures.append(keep_sheet(before, after.graph, base.with_name(f"{base.name}-neighbours.png")))
    return pictures


def keep_graph(graph: Graph, path: Path) -> None:
    """Store the neighbours of training and test images as int32, ``train`` and ``test``."""
    train, test = graph.train.cpu().numpy(), graph.test.cpu().numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, train=train, test=test)

    write_atomically(path, write)


def keep_sheet(before: Subject, graph: Graph, path: Path) -> Path:
    """Draw some test images, by the seed, beside the training images that they are joined to."""
    queries = randomness.permutation(len(graph.test), before.seed, "shown")[:SHOWN]
    sheet = draw(before.dataset, queries, graph.test.cpu()[queries, :SHOWN])
    write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))
    return path


def keep_map(before: Features, after: Features, classes: tuple[str, ...], path: Path) -> Path:
    """Draw test images, by the seed, on the principal components of theirs before and after."""
    from results.figures.feature_map import write_feature_map

    some = randomness.permutation(len(before.test), before.seed, "shown")[:DOTS].to(before.test.device)
    maps = {"before": components(before.test[some]), "after": components(after.test[some])}
    write_feature_map(path, maps, before.test_labels[some].cpu().numpy(), classes)
    return path


def components(features: Tensor) -> NDArray[np.float32]:
    """(n, d) features of length 1 on their first two principal components, (n, 2); the largest entry is positive."""
    centred = unit(features) - unit(features).mean(0)
    _, _, axes = torch.linalg.svd(centred.double(), full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    points: NDArray[np.float32] = (centred.double() @ axes.T).float().cpu().numpy()
    return points
