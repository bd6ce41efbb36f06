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
    monkeypatch.setattr(inference, "batch_size", lambda _: 30)
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


def test_the_batch_of_a_cpu_grows_with_its_threads(monkeypatch):
    sizes = []
    for threads in (1, 4, 64):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        sizes.append([inference.images_per_batch(side**2, torch.device("cpu")) for side in (32, 96, 224)])
    assert sizes == [[100, 100, 18], [400, 400, 73], [1000, 1000, 183]]
    assert inference.images_per_batch(32**2, torch.device("cuda")) == 1000
