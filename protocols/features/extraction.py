"""Extraction of a data set's features by a frozen backbone, once for all evaluations of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from protocols.augment.normalise import normalise
from protocols.backbones.inference import extract_features
from protocols.features.features import Features

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset, Split


def prepare_images(images: Tensor, dataset: Dataset, size: int, crop_pct: float | None = None) -> Tensor:
    """Images, normalised and resized, not augmented.

    Args:
        images: (n, side, 3, side) uint8.
        dataset: with its normalisation.
        size: side of the result in pixels.
        crop_pct: images are resized to ``size / crop_pct``, and their centre is taken; None for the whole image.

    Returns:
        (n, 3, size, size) float32.
    """
    whole = size if crop_pct is None else math.floor(size / crop_pct)
    resized = resize(normalise(images, dataset.mean, dataset.std), whole)
    start = round((whole - size) / 2)
    return resized[..., start : start + size, start : start + size]


def resize(images: Tensor, size: int) -> Tensor:
    """Images (n, 3, side, side) at another size, by an antialiased bilinear filter."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def extract_dataset(
    backbone: Backbone,
    dataset: Dataset,
    device: torch.device,
    seed: int,
    *,
    size: int | None = None,
    crop_pct: float | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Features:
    """Features of a data set's training and test split; images are normalised and not augmented.

    Args:
        backbone: frozen.
        dataset: with its images.
        device: of the backbone.
        seed: of the run.
        size: side in pixels of what the backbone sees; by default that of the data set.
        crop_pct: see :func:`prepare_images`.
        report: called now and then with the number of images that are done, of those of both splits.
    """
    size = size or dataset.side

    def prepare(images: Tensor) -> Tensor:
        return prepare_images(images, dataset, size, crop_pct)

    def extract(split: Split, before: int) -> Tensor:
        images = torch.from_numpy(split.images)
        return extract_features(backbone, images, prepare, device, report=lambda done: report(before + done))

    return Features(
        train=extract(dataset.train, 0),
        train_labels=torch.from_numpy(dataset.train.labels).to(device),
        test=extract(dataset.test, len(dataset.train)),
        test_labels=torch.from_numpy(dataset.test.labels).to(device),
        classes=len(dataset.classes),
        seed=seed,
    )
