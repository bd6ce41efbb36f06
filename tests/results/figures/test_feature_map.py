"""Maps of features."""

import numpy as np
from PIL import Image

from results.figures.feature_map import MOST_CLASSES, write_feature_map


def test_the_same_points_make_the_same_picture(tmp_path):
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    labels = np.arange(60) % (MOST_CLASSES + 3)
    classes = [f"class {number}" for number in range(MOST_CLASSES + 3)]
    for name in ("first.png", "second.png"):
        write_feature_map(tmp_path / name, {"before": points, "after": 2 * points}, labels, classes)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.width > picture.height > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.png", "second.png"]
