"""Extraction of a data set's features by a frozen backbone, once for all evaluations of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.augment.normalise import normalise
from protocols.backbones.inference import extract_features
from protocols.features.features import Features

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone
    from protocols.datasets.base import Dataset


def extract_dataset(backbone: Backbone, dataset: Dataset, device: torch.device, seed: int) -> Features:
    """Features of a data set's training and test split; images are normalised and not augmented."""

    def extract(images: Tensor) -> Tensor:
        return extract_features(backbone, images, lambda batch: normalise(batch, dataset.mean, dataset.std), device)

    return Features(
        train=extract(torch.from_numpy(dataset.train.images)),
        train_labels=torch.from_numpy(dataset.train.labels).to(device),
        test=extract(torch.from_numpy(dataset.test.images)),
        test_labels=torch.from_numpy(dataset.test.labels).to(device),
        classes=len(dataset.classes),
        seed=seed,
    )
