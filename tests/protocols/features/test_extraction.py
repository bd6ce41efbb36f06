"""Images as a frozen backbone gets them."""

import torch
from torch.nn import functional as F

from protocols.features.extraction import resize


def test_images_of_the_size_stay_and_others_are_resized():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert resize(images, 16) is images
    halved = resize(images, 8)
    assert halved.shape == (2, 3, 8, 8)
    torch.testing.assert_close(halved, F.interpolate(images, (8, 8), mode="bilinear", antialias=True))
    assert resize(images, 24).shape == (2, 3, 24, 24)
