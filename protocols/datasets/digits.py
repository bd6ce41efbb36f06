"""The handwritten digits of scikit-learn: real images without a download."""

from __future__ import annotations

import numpy as np

from protocols.datasets.base import Dataset, Source, Split, rows_of_planes
from protocols.spec.plugins import register_dataset

SIDE = 16
HELD_OUT = 50


@register_dataset("digits")
class Digits(Source):
    """Handwritten digits, 1,297 + 500 of 16×16 grey, 10 classes; comes with scikit-learn, no download.

    The test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998), 8×8 pixels of 17
    levels, resized to 16×16 (bilinear) so that small backbones can pool. The last 50 images of each digit, which the
    last of the writers wrote, are the test split. Normalisation measured on the train split.
    """

    def load(self) -> Dataset:
        """Read the images from scikit-learn."""
        from sklearn.datasets import load_digits

        grey, labels = load_digits(return_X_y=True)
        images = enlarge(np.rint(grey.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8))
        held_out = last_of_each(labels, HELD_OUT)
        return Dataset(
            name=self.name,
            classes=tuple("0123456789"),
            mean=(0.3058,) * 3,
            std=(0.3179,) * 3,
            train=Split(images[~held_out], labels[~held_out].astype(np.int64)),
            test=Split(images[held_out], labels[held_out].astype(np.int64)),
        )


def enlarge(grey: np.ndarray) -> np.ndarray:
    """Resize (n, 8, 8) uint8 to (n, SIDE, 3, SIDE)."""
    from PIL import Image

    size, bilinear = (SIDE, SIDE), Image.Resampling.BILINEAR
    return rows_of_planes(np.stack([np.asarray(Image.fromarray(image).resize(size, bilinear)) for image in grey]))


def last_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """A mask over (n,) labels: the last ``count`` of each class."""
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[-count:]] = True
    return mask
