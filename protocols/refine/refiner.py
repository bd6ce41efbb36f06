"""Applies refinements to a run's features, and stores what a run keeps of them: graphs and pictures."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from protocols.datasets.contact_sheet import contact_sheet
from protocols.features.extraction import extract_dataset
from protocols.features.features import NetworkFeatures
from protocols.features.neighbours import unit
from protocols.pretrain import checkpoint
from protocols.spec.plugins import REFINEMENTS, typed_options
from protocols.spec.run import digest_of
from protocols.system import randomness
from protocols.system.device import to_float64
from results.errors import Diverged
from results.names import code_options, display_name
from results.store import EXTRA_STATE, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.features.context import EvaluationContext
    from protocols.features.features import Features
    from protocols.spec.run import Component, Run

STUDENT_PREFIX = "student."
"""Of the weights of the second network in a method's extra state; the first network is the teacher."""

SHEET_IMAGES = 10
"""Test images that are shown with their neighbours, and neighbours of each, at most."""

MAP_IMAGES = 2000
"""Test images on a map, at most."""


class Refiner:
    """Refines features by one run's networks; the last result stays in memory.

    Args:
        run: that the networks belong to.
        folder: of the run.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self._inputs: tuple[str, Features] | None = None
        self._result: tuple[str, Features | None] | None = None

    def refine(self, context: EvaluationContext, refinement: Component) -> Features | None:
        """Features of a data set after a refinement; None if the refinement does not apply to the method.

        Raises:
            Diverged: they are not finite.
        """
        images = f"{context.dataset.name} {context.image_size} {context.crop_pct}"
        key = digest_of([images, refinement.identity()])
        if self._inputs is None or self._inputs[0] != images:
            self._inputs = images, with_extra_state(context, self.run, self.folder)
        if self._result is None or self._result[0] != key:
            self._result = key, apply_refinement(self._inputs[1], refinement)
        return self._result[1]


def with_extra_state(context: EvaluationContext, run: Run, folder: Path) -> Features:
    """Features of a data set, with those of the method's second network and recorded neighbours where it has them.

    Recorded neighbours are those of the images that were pretrained on, and say nothing of another data set.
    """
    extra = checkpoint.load(folder / EXTRA_STATE, context.device, run.fingerprint()) or {}
    same_images = context.dataset.name == run.dataset.name and context.dataset.unlabeled is None
    teacher, student = (extra.get(f"{name}_neighbours") if same_images else None for name in ("teacher", "student"))
    features = replace(context.features, recorded_neighbours=teacher, listener=context.listener)
    weights = {
        name.removeprefix(STUDENT_PREFIX): value for name, value in extra.items() if name.startswith(STUDENT_PREFIX)
    }
    if not weights:
        return features
    network = copy.deepcopy(context.backbone)
    network.load_state_dict(weights)
    student_features = extract_dataset(
        network, context.dataset, context.device, run.seed, size=context.image_size, crop_pct=context.crop_pct
    )
    return replace(features, student=NetworkFeatures(student_features.train, student_features.test, student))


def apply_refinement(features: Features, refinement: Component) -> Features | None:
    """Features after a refinement; see :meth:`Refiner.refine`."""
    function = REFINEMENTS.get(refinement.name)
    options = code_options(REFINEMENTS.key(refinement.name), refinement.options)
    refined = function(features, **typed_options(function, options, refinement.name))
    if refined is not None and not (refined.train.isfinite().all() and refined.test.isfinite().all()):
        raise Diverged(
            f"features after {display_name(refinement.label)} are not finite", hint="try a lower learning rate"
        )
    return refined


def store_graph_and_pictures(context: EvaluationContext, refined: Features, base: Path) -> list[Path]:
    """Store the graph of a refinement, and draw pictures of it.

    Args:
        context: the data set with its features before.
        refined: the features after.
        base: path of the files without their ends: ``.npz`` the graph, ``-neighbours.png`` test images beside those
            they are connected to, ``-map.png`` the test images before and after on their principal components.

    Returns:
        The pictures.
    """
    pictures = [draw_map(context, refined, base.with_name(f"{base.name}-map.png"))]
    if refined.graph is None:
        return pictures
    train, test = refined.graph.train.cpu(), refined.graph.test.cpu()

    def save_graph(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, train=train.numpy(), test=test.numpy())

    write_atomically(base.with_name(f"{base.name}.npz"), save_graph)
    queries = randomness.permutation(len(test), context.seed, "shown")[:SHEET_IMAGES]
    picture = contact_sheet(context.dataset, queries, test[queries, :SHEET_IMAGES])
    path = base.with_name(f"{base.name}-neighbours.png")
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
    return [*pictures, path]


def draw_map(context: EvaluationContext, refined: Features, path: Path) -> Path:
    """Draw test images, chosen by the seed, on the principal components of their features before and after."""
    from results.figures.feature_map import write_feature_map

    before = context.features
    some = randomness.permutation(len(before.test), context.seed, "shown")[:MAP_IMAGES].to(before.test.device)
    maps = {"before": principal_components(before.test[some]), "after": principal_components(refined.test[some])}
    write_feature_map(path, maps, before.test_labels[some].cpu().numpy(), context.dataset.classes)
    return path


def principal_components(features: Tensor) -> NDArray[np.float32]:
    """(n, d) features, scaled to length 1, on their first two principal components, (n, 2).

    The sign of a component is such that its largest entry is positive.
    """
    centred = unit(features) - unit(features).mean(0)
    centred = to_float64(centred)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    points: NDArray[np.float32] = (centred @ axes.T).float().cpu().numpy()
    return points
