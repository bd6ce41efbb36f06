import torch

from methods import RunInfo
from methods.simclr import SimCLR
from protocols.backbones.small import Conv4
from protocols.spec.protocol import load


def test_head_of_relational2020_is_the_papers():
    """Linear to 256, BatchNorm, LeakyReLU, Linear to 64: 33,600 parameters."""
    options = SimCLR.Options(**load("relational2020").tables["methods"]["simclr"])
    projector = SimCLR(Conv4(), options, RunInfo(classes=10, images=8, side=16, steps=1, seed=0)).projector
    assert sum(p.numel() for p in projector.parameters()) == 33_600
    assert isinstance(projector[2], torch.nn.LeakyReLU)
