"""Extraction of a data set's features by a frozen backbone, once for all evaluations of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from protocols.augment.normalise import normalise
from protocols.backbones.inference import extract_features
from protocols.features.features import Features

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset


def prepare_images(images: Tensor, dataset: Dataset, size: int) -> Tensor:
    """Images (n, side, 3, side) uint8, normalised and resized to (n, 3, size, size) float32, not augmented."""
    return resize(normalise(images, dataset.mean, dataset.std), size)


def resize(images: Tensor, size: int) -> Tensor:
    """Images (n, 3, side, side) at another size, by an antialiased bilinear filter."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def extract_dataset(
    backbone: Backbone, dataset: Dataset, device: torch.device, seed: int, size: int | None = None
) -> Features:
    """Features of a data set's training and test split; images are normalised and not augmented.

    Args:
        backbone: frozen.
        dataset: with its images.
        device: of the backbone.
        seed: of the run.
        size: side in pixels that images are resized to; by default they are not.
    """
    size = size or dataset.side

    def extract(images: Tensor) -> Tensor:
        return extract_features(backbone, images, lambda batch: prepare_images(batch, dataset, size), device)

    return Features(
        train=extract(torch.from_numpy(dataset.train.images)),
        train_labels=torch.from_numpy(dataset.train.labels).to(device),
        test=extract(torch.from_numpy(dataset.test.images)),
        test_labels=torch.from_numpy(dataset.test.labels).to(device),
        classes=len(dataset.classes),
        seed=seed,
    )
