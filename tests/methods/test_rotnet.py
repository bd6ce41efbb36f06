import numpy as np
import torch

from methods import Batch, RunInfo
from methods.rotnet import RotNet, rotations
from protocols.backbones.small import Conv4


def test_rotations_are_numpys():
    images = torch.rand(3, 3, 5, 5)
    turned = rotations(images)
    for turns in range(4):
        expected = [np.rot90(image, turns, axes=(1, 2)) for image in images.numpy()]
        assert np.array_equal(turned[3 * turns : 3 * turns + 3], np.stack(expected))


def test_loss_is_cross_entropy_of_the_turns():
    method = RotNet(Conv4(), RotNet.Options(), RunInfo(classes=10, images=5, side=8, steps=1, seed=0)).eval()
    images = torch.rand(5, 3, 8, 8)
    losses = []
    for turns in range(4):
        logits = method.classifier(method.backbone(torch.rot90(images, turns, (2, 3))))
        losses += [-row.log_softmax(0)[turns] for row in logits]
    got = method(Batch(images, torch.arange(5)))["loss"]
    torch.testing.assert_close(got, torch.stack(losses).mean())


def test_head_is_one_layer_of_four():
    assert sum(p.numel() for p in RotNet(Conv4(), None, None).classifier.parameters()) == 64 * 4 + 4
