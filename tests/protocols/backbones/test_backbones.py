import pytest
import torch

from protocols.backbones.timm_models import timm
from protocols.spec.plugins import BACKBONES

PAPER = {
    "conv4": (64, 24_648),
    "resnet8": (64, 77_392),
    "resnet32": (64, 466_256),
    "resnet56": (64, 855_120),
    "resnet34": (512, 21_284_672),
}


def built(name):
    return (timm(name, 32) if name.startswith("timm:") else BACKBONES.get(name)(name)).eval()


@pytest.mark.parametrize("name", PAPER)
def test_sizes_are_the_papers(name):
    backbone = BACKBONES.get(name)(name)
    dim, parameters = PAPER[name]
    assert backbone.dim == dim
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize("name", ["conv4", "resnet8", "resnet32", "resnet34", "timm:resnet18@small"])
@pytest.mark.parametrize("side", [32, 64])
def test_representation_is_pooled_whatever_the_side(name, side):
    backbone = built(name)
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, side, side)).shape == (2, backbone.dim)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("conv4", (8, 32)), ("resnet32", (16, 32)), ("resnet34", (64, 16)), ("timm:resnet18@small", (64, 32))],
)
def test_stem_is_the_first_activation_before_pooling(name, shape):
    backbone = built(name)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        z, maps = backbone.forward_with_map(images)
        assert torch.equal(z, backbone(images))
    channels, side = shape
    assert maps.shape == (1, channels, side, side)


def test_convolutions_start_from_he_fan_out():
    layer = BACKBONES.get("resnet56")("resnet56").body[-1].first[0]
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
