"""timm models, and ViTs at the size of the images."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import timm as library
import torch

from protocols.backbones.small import Conv4
from protocols.backbones.timm_models import is_reachable, timm
from results.errors import RequestError, UnknownName

VIT = "timm:test_vit@patch=4"


def built(name, side=32):
    return timm(name, side).eval()


def test_timm_keeps_its_own_stem_unless_told_otherwise():
    standard, small = (built(name).model for name in ("timm:resnet18", "timm:resnet18@small"))
    assert (standard.conv1.kernel_size, small.conv1.kernel_size) == ((7, 7), (3, 3))
    assert isinstance(small.maxpool, torch.nn.Identity)


WITH_HIDDEN_LAYER = [
    *["cpubone_nano", "efficientvit_b0", "fasternet_t0", "ghostnet_050", "hardcorenas_a", "hgnetv2_b0"],
    *["inception_next_atto", "lcnet_050", "lcnetv2_base", "lowformer_b0", "mambaout_femto", "mobilenetv3_small_050"],
    *["repghostnet_050", "vgg11"],
]
"""A model of every family that has a layer between pooling and classifier, of another width than what is pooled."""


@pytest.mark.parametrize("name", [*WITH_HIDDEN_LAYER, "test_vit"])
def test_the_width_of_a_timm_model_is_that_of_its_output(name):
    if not library.is_model(name):
        pytest.skip(f"timm {library.__version__} has no {name}")
    backbone = built(f"timm:{name}")
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, backbone.dim)
    assert (backbone.dim != backbone.model.num_features) == (name in WITH_HIDDEN_LAYER)


def test_unknown_timm_model_gets_a_suggestion():
    with pytest.raises(UnknownName, match="resnet18"):
        built("timm:resnet18x")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("timm:vit_tiny_patch16_224@small", "no small stem"),
        ("timm:resnet18@patch=4", "@patch and @pool are for ViTs"),
        ("timm:resnet18@pool=avg", "@patch and @pool are for ViTs"),
        ("timm:deit_tiny_distilled_patch16_224@pool=avg", "The distilled head reads the class and"),
        ("timm:swin_tiny_patch4_window7_224@patch=2", "is no VisionTransformer"),
        ("timm:test_vit@patch=0", "@patch=0 is unknown or repeated; choose @small, @patch=PIXELS"),
        ("timm:test_vit@patch=4@patch=8", "@patch=8 is unknown or repeated"),
        ("timm:test_vit@pool=max", "@pool=max is unknown or repeated"),
        ("timm:resnet18@small@pool=avg", "leave one out"),
    ],
)
def test_what_a_model_cannot_be_is_refused_in_one_line(name, complaint):
    with pytest.raises(RequestError, match=complaint) as caught:
        built(name)
    assert "\n" not in str(caught.value)


def test_a_model_of_one_size_takes_images_of_any():
    vit = built("timm:test_vit")
    images = torch.rand(2, 3, vit.side, vit.side)
    assert torch.equal(vit(images), vit.model(images))
    small = torch.nn.functional.interpolate(images, size=32, mode="area")
    larger = torch.nn.functional.interpolate(small, size=vit.side, mode="bicubic", antialias=True)
    torch.testing.assert_close(vit(small), vit.model(larger))
    assert built("timm:resnet18@small").side is None


@pytest.mark.parametrize("side", [16, 28, 32])
def test_a_vit_with_a_patch_size_has_position_embeddings_of_the_size_of_the_images(side):
    torch.manual_seed(0)
    vit = built(VIT, side)
    torch.manual_seed(0)
    alone = library.create_model("test_vit", num_classes=0, img_size=side, patch_size=4).eval()
    assert vit.model.pos_embed.shape[1] == (side // 4) ** 2 + vit.prefix_tokens
    images = torch.rand(2, 3, side, side)
    assert vit(images).equal(alone(images))  # nothing is resized
    assert vit(torch.rand(2, 3, 20, 20)).shape == (2, vit.dim)  # as small crops are


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("timm:test_vit", 1), ("timm:vit_small_patch14_reg4_dinov2", 5), ("timm:vit_tiny_patch16_224", 1)],
)
def test_the_representation_is_the_class_token_or_the_mean_of_patches(name, prefix):
    images = torch.rand(2, 3, 32, 32)
    token, mean = (built(f"{name}@patch=8@pool={pool}") for pool in ("token", "avg"))
    mean.load_state_dict(token.state_dict())
    with torch.no_grad():
        tokens = token.tokens(images)
        assert tokens.shape == (2, prefix + 16, token.dim)
        torch.testing.assert_close(token(images), tokens[:, 0])
        torch.testing.assert_close(mean(images), tokens[:, prefix:].mean(1))


def test_a_patch_that_is_kept_is_encoded_as_if_there_were_no_others():
    """Against timm's blocks, given the embeddings of these patches only; a permutation of patches permutes tokens."""
    vit, images = built(VIT, 16), torch.rand(3, 3, 16, 16)
    keep = torch.stack([torch.randperm(16)[:5] for _ in range(3)])
    with torch.no_grad():
        embedded = vit.model.patch_embed.proj(images).flatten(2).transpose(1, 2)
        positions = vit.model.pos_embed[0]
        for image, patches in enumerate(keep):
            prefix = vit.model.cls_token[0] + positions[:1]
            x = torch.cat([prefix, embedded[image, patches] + positions[1:][patches]])
            expected = vit.model.norm(vit.model.blocks(x[None]))[0]
            torch.testing.assert_close(vit.tokens(images, keep)[image], expected, rtol=1e-5, atol=1e-5)
        every = torch.arange(16).expand(3, -1)
        torch.testing.assert_close(vit.tokens(images, every), vit.tokens(images), rtol=1e-5, atol=1e-5)


def test_masked_patches_are_replaced_before_positions_are_added():
    vit, images, token = built(VIT, 16), torch.rand(2, 3, 16, 16), torch.rand(64, requires_grad=True)
    mask = torch.rand(2, 16) < 0.5
    tokens = vit.tokens(images, mask=mask, mask_token=token)
    changed = images.clone().unflatten(3, (4, 4)).unflatten(2, (4, 4))  # (n, 3, rows, 4, columns, 4)
    changed[mask.view(2, 1, 4, 1, 4, 1).expand_as(changed)] = 7.0
    other = vit.tokens(changed.flatten(4).flatten(2, 3), mask=mask, mask_token=token)
    assert tokens.equal(other)  # of what is masked nothing is seen
    tokens.sum().backward()
    assert token.grad.abs().sum() > 0
    nothing = vit.tokens(images, mask=torch.zeros_like(mask), mask_token=token)
    torch.testing.assert_close(nothing, vit.tokens(images))


def test_backbones_without_tokens_say_so():
    for backbone in (Conv4(), built("timm:resnet18")):
        assert not backbone.has_tokens
        assert backbone.patch_size == 0
        with pytest.raises(RequestError, match="has no tokens; choose a ViT, such as timm:"):
            backbone.tokens(torch.rand(1, 3, 32, 32))
    resized = built("timm:test_vit")
    assert resized.has_tokens
    assert resized.patch_size == 0  # its patches are not those of the images


def test_a_server_is_reachable_whatever_it_answers(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    class Refuse(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *words): ...

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert is_reachable(address)
        thread.join()
    assert not is_reachable(address)
    assert not is_reachable("no address")
