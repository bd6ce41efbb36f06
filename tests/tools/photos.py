"""A folder of images, as ``folder:PATH`` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def make_photos(folder: Path, *, train: int, test: int, side: int) -> None:
    """Make images of noise: so many of each of the classes a and b in each split."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for label in "ab":
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
