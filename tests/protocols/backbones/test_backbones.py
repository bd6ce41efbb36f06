import pytest
import torch

from protocols.spec.plugins import BACKBONES
from results.errors import RequestError, UnknownName

PAPER = {
    "conv4": (64, 24_648),
    "resnet8": (64, 77_392),
    "resnet32": (64, 466_256),
    "resnet56": (64, 855_120),
    "resnet34": (512, 21_284_672),
}


@pytest.mark.parametrize("name", PAPER)
def test_sizes_are_the_papers(name):
    backbone = BACKBONES.get(name)(name)
    dim, parameters = PAPER[name]
    assert backbone.dim == dim
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize("name", ["conv4", "resnet8", "resnet32", "resnet34", "timm:resnet18@small"])
@pytest.mark.parametrize("side", [32, 64])
def test_representation_is_pooled_whatever_the_side(name, side):
    backbone = BACKBONES.get(name)(name).eval()
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, side, side)).shape == (2, backbone.dim)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("conv4", (8, 32)), ("resnet32", (16, 32)), ("resnet34", (64, 16)), ("timm:resnet18@small", (64, 32))],
)
def test_stem_is_the_first_activation_before_pooling(name, shape):
    backbone = BACKBONES.get(name)(name).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        z, maps = backbone.forward_with_map(images)
        assert torch.equal(z, backbone(images))
    channels, side = shape
    assert maps.shape == (1, channels, side, side)


def test_convolutions_start_from_he_fan_out():
    layer = BACKBONES.get("resnet56")("resnet56").body[-1].first[0]
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_timm_keeps_its_own_stem_unless_told_otherwise():
    own, small = (BACKBONES.get("timm")(name).model for name in ("timm:resnet18", "timm:resnet18@small"))
    assert (own.conv1.kernel_size, small.conv1.kernel_size) == ((7, 7), (3, 3))
    assert isinstance(small.maxpool, torch.nn.Identity)


@pytest.mark.parametrize(
    "name", ["ghostnet_050", "lcnet_050", "mobilenetv3_small_050", "repghostnet_050", "efficientvit_b0", "test_vit"]
)
def test_the_width_of_a_timm_model_is_that_of_its_output(name):
    """The first five have a layer between pooling and classifier, which is wider than what is pooled."""
    backbone = BACKBONES.get("timm")(f"timm:{name}").eval()
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, backbone.dim)
    assert (backbone.dim != backbone.model.num_features) == (name != "test_vit")


def test_unknown_timm_model_gets_a_suggestion():
    with pytest.raises(UnknownName, match="resnet18"):
        BACKBONES.get("timm")("timm:resnet18x")


def test_small_stem_is_refused_where_none_is_known():
    with pytest.raises(RequestError, match="no small stem"):
        BACKBONES.get("timm")("timm:vit_tiny_patch16_224@small")


def test_a_model_of_one_size_takes_images_of_any():
    vit = BACKBONES.get("timm")("timm:test_vit").eval()
    images = torch.rand(2, 3, vit.side, vit.side)
    assert torch.equal(vit(images), vit.model(images))
    small = torch.nn.functional.interpolate(images, size=32, mode="area")
    larger = torch.nn.functional.interpolate(small, size=vit.side, mode="bicubic", antialias=True)
    torch.testing.assert_close(vit(small), vit.model(larger))
    assert BACKBONES.get("timm")("timm:resnet18@small").side is None
