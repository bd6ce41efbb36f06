"""Images as a frozen backbone gets them."""

import pytest
import torch
from torch.nn import functional as F

from methods import Backbone
from protocols.backbones import inference
from protocols.features.extraction import resize


def test_images_of_the_size_stay_and_others_are_resized():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert resize(images, 16) is images
    halved = resize(images, 8)
    assert halved.shape == (2, 3, 8, 8)
    torch.testing.assert_close(halved, F.interpolate(images, (8, 8), mode="bilinear", antialias=True))
    assert resize(images, 24).shape == (2, 3, 24, 24)


@pytest.mark.parametrize(("side", "largest"), [(16, 30), (96, 30), (192, 7)])
def test_large_images_pass_in_smaller_batches(monkeypatch, side, largest):
    """As many pixels at a time, of the size that the backbone sees; the features are the same."""
    monkeypatch.setattr(inference, "BATCH_SIZE", 30)
    monkeypatch.setattr(inference, "PIXELS_PER_BATCH", 30 * 96**2)
    passes = []

    class Means(Backbone):
        def forward(self, images):
            passes.append(len(images))
            return images.mean((2, 3))

    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = inference.extract_features(Means(), images, lambda some: resize(some, side), torch.device("cpu"))
    assert max(passes) == largest
    assert sum(passes) == len(images)
    torch.testing.assert_close(features, resize(images, side).mean((2, 3)))
