"""Weights in files of lightly, timm and papers' code, read and matched with backbones."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import timm as library
import torch
import torchvision
from lightly.models import ResNetGenerator
from lightly.models.modules import MaskedVisionTransformerTIMM, SimCLRProjectionHead
from safetensors.torch import save_file
from torch import nn

from methods.weight_files import load_weights, read_tensors
from protocols.backbones.small import Conv4, cifar_resnet
from protocols.backbones.timm_models import timm
from results.errors import RequestError


class SimCLR(nn.Module):
    """As in lightly's examples."""

    def __init__(self, backbone, dim=512):
        super().__init__()
        self.backbone = backbone
        self.projection_head = SimCLRProjectionHead(dim, dim, 128)


def moved(module, seed=0):
    """A module in evaluation mode whose running statistics are not those of a new one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.named_buffers():
        if "running" in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module.eval()


def loaded(name, path, side=32, prefix=""):
    backbone = (name if isinstance(name, nn.Module) else timm(name, side)).eval()
    return backbone, load_weights(backbone, read_tensors(path), path.name, prefix)


def test_a_resnet_of_torchvision_in_lightlys_simclr(tmp_path):
    resnet = torchvision.models.resnet18()
    model = moved(SimCLR(nn.Sequential(*list(resnet.children())[:-1])))
    torch.save(model.state_dict(), tmp_path / "simclr.pth")
    backbone, line = loaded("timm:resnet18", tmp_path / "simclr.pth")
    assert line == "simclr.pth: 120 tensors under 'backbone.'"
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), model.backbone(images).flatten(1), rtol=1e-5, atol=1e-5)


def test_lightlys_own_resnet_for_small_images_in_a_checkpoint_of_lightning(tmp_path):
    resnet = ResNetGenerator("resnet-18")
    model = moved(SimCLR(nn.Sequential(*list(resnet.children())[:-1], nn.AdaptiveAvgPool2d(1))))
    hyper = argparse.Namespace(batch=256, path=Path("data"))
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyper, "epoch": 200}, tmp_path / "last.ckpt")
    backbone, line = loaded("timm:resnet18@small", tmp_path / "last.ckpt")
    assert line == "last.ckpt: 120 tensors under 'state_dict.backbone.'"
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), model.backbone(images).flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["timm", "lightly"])
def test_a_vit_of_timm_as_safetensors(tmp_path, kind):
    vit = library.create_model("test_vit").eval()
    state = vit.state_dict()
    if kind == "lightly":
        state = {f"backbone.{key}": value for key, value in MaskedVisionTransformerTIMM(vit).state_dict().items()}
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "vit.safetensors")
    backbone, line = loaded("timm:test_vit", tmp_path / "vit.safetensors")
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = vit.forward_head(vit.forward_features(images), pre_logits=True)
        torch.testing.assert_close(backbone(images), expected, rtol=1e-5, atol=1e-5)
    assert "left out" in line


def small_resnet():
    """A ResNet of timm with a classifier, of half a million weights."""
    return library.create_model("test_resnet")


def dino(state):
    student = {f"module.backbone.{key}": value + 1 for key, value in state.items()}
    return {"student": student, "teacher": {f"backbone.{key}": value for key, value in state.items()}, "epoch": 3}


def moco(state):
    query, key = ({f"module.encoder_{n}.{k}": v + s for k, v in state.items()} for n, s in (("q", 0), ("k", 1)))
    return {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": query | key,
        "optimizer": {"state": {0: {"m": torch.ones(3)}}},
    }


LAYOUTS = {
    "solo-learn": (
        lambda state: {"state_dict": {f"backbone.{k}": v for k, v in state.items()}},
        "state_dict.backbone.",
    ),
    "moco": (moco, "state_dict.module.encoder_q."),
    "dino": (dino, "teacher.backbone."),
    "vicreg": (
        lambda state: {"model": {f"module.backbone.{k}": v for k, v in state.items()}},
        "model.module.backbone.",
    ),
    "stable-pretraining": (
        lambda state: {"state_dict": {f"model.backbone.{k}": v for k, v in state.items()}},
        "state_dict.model.backbone.",
    ),
    "relational": (lambda state: {"backbone": state, "optimizer": {}}, "backbone."),
    "plain": (OrderedDict, ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prefixes_are_found_and_heads_left_out(tmp_path, layout):
    nest, prefix = LAYOUTS[layout]
    state = moved(small_resnet()).state_dict()
    torch.save(nest(state), tmp_path / "weights.pth")
    backbone, line = loaded("timm:test_resnet", tmp_path / "weights.pth")
    assert line.startswith(f"weights.pth: {len(state) - 2} tensors" + (f" under {prefix!r}" if prefix else ";"))
    for key, value in state.items():
        if not key.startswith("fc."):
            assert backbone.model.state_dict()[key].equal(value), key
    assert "left out fc.weight, fc.bias" in line
    assert ("others that fit: 'student.module.backbone.'; prefix= chooses" in line) == (layout == "dino")


def test_a_prefix_chooses_among_networks(tmp_path):
    state = small_resnet().state_dict()
    torch.save(dino(state), tmp_path / "weights.pth")
    backbone, _ = loaded("timm:test_resnet", tmp_path / "weights.pth", prefix="student.module.backbone")
    assert backbone.model.conv1[0].weight.equal(state["conv1.0.weight"] + 1)
    with pytest.raises(RequestError, match=r"has no weights of this backbone: .*; leave prefix out"):
        loaded("timm:test_resnet", tmp_path / "weights.pth", prefix="nothing")


class PaperConv4(nn.Module):
    """The layers of Patacchiola & Storkey's code, by its names."""

    def __init__(self):
        super().__init__()
        widths = (3, 8, 16, 32, 64)
        for number in range(1, 5):
            layers = {
                "conv": nn.Conv2d(widths[number - 1], widths[number], 3, padding=1, bias=False),
                "bn": nn.BatchNorm2d(widths[number]),
                "relu": nn.ReLU(),
                "pool": nn.AvgPool2d(2) if number < 4 else nn.AdaptiveAvgPool2d(1),
            }
            setattr(self, f"layer{number}", nn.Sequential(OrderedDict(layers)))

    def forward(self, images):
        return self.layer4(self.layer3(self.layer2(self.layer1(images)))).flatten(1)


def test_conv4_of_the_papers_code(tmp_path):
    paper = moved(PaperConv4())
    torch.save({"backbone": paper.state_dict(), "relation": {}, "epoch": 1}, tmp_path / "checkpoint.tar")
    backbone, _ = loaded(Conv4(), tmp_path / "checkpoint.tar")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images), paper(images), rtol=1e-5, atol=1e-5)


def test_resnets_for_small_images_have_the_common_names(tmp_path):
    """Blocks of torchvision in the arrangement of the CIFAR networks, as in the papers' code."""
    from torchvision.models.resnet import BasicBlock, ResNet

    paper = ResNet(BasicBlock, [1, 1, 1, 1])
    paper.inplanes = 16
    paper.conv1, paper.bn1, paper.maxpool = (
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.Identity(),
    )
    stages = ((16, 1), (32, 2), (64, 2))
    paper.layer1, paper.layer2, paper.layer3 = (
        paper._make_layer(BasicBlock, width, 5, stride) for width, stride in stages
    )
    paper.layer4, paper.fc = nn.Identity(), nn.Identity()
    moved(paper)
    torch.save(paper.state_dict(), tmp_path / "resnet32.pth")
    backbone, line = loaded(cifar_resnet(5), tmp_path / "resnet32.pth")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images), paper(images), rtol=1e-5, atol=1e-5)
    assert "left out" not in line


@pytest.mark.parametrize("make", [Conv4, lambda: cifar_resnet(1), lambda: timm("timm:test_vit@patch=4", 32)])
def test_a_backbone_fits_its_own_state_dict(tmp_path, make):
    one = moved(make())
    torch.save({"backbone": one.state_dict()}, tmp_path / "backbone.pt")
    other, _ = loaded(make(), tmp_path / "backbone.pt")
    assert all(value.equal(other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("model", "backbone", "complaint"),
    [
        ("resnet18", "timm:resnet34", "does not fit the backbone: 80 missing: layer1.2.conv1.weight, "),
        ("resnet34", "timm:resnet18", "does not fit the backbone: 80 not in the backbone: layer1.2."),
        ("resnet18", "timm:resnet18@small", "the file has a 7×7 stem: leave out @small"),
        ("test_vit", "timm:resnet18", "has no weights of this backbone: its keys are "),
        ("test_vit", "timm:test_vit@patch=4", "it is of a ViT with @patch=16 and image_size=160"),
    ],
)
def test_a_file_of_another_network_is_refused_in_one_line(tmp_path, model, backbone, complaint):
    save_file(library.create_model(model).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(RequestError) as caught:
        loaded(backbone, tmp_path / "weights.safetensors")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "backbone"), [("resnet18", "timm:resnet34@small"), ("resnet34", "timm:resnet18@small")]
)
def test_another_stem_is_no_remedy_where_layers_are_missing_or_left(tmp_path, model, backbone):
    save_file(library.create_model(model).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(RequestError) as caught:
        loaded(backbone, tmp_path / "weights.safetensors")
    assert caught.value.hint == "choose the backbone that it was made of"


class Harmful:
    """Executes code when it is unpickled as pickle does."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_nothing_in_a_file_is_executed(tmp_path):
    harmful = Harmful(tmp_path / "executed")
    with pytest.raises(FileNotFoundError):
        harmful.path.stat()
    torch.save({"object": harmful, "weight": torch.ones(3)}, tmp_path / "weights.pth")
    assert read_tensors(tmp_path / "weights.pth").keys() == {"weight"}
    torch.save({"object": harmful}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(RequestError, match="cannot be read as weights: Unsupported global: GLOBAL exec"):
        read_tensors(tmp_path / "old.pth")
    assert not harmful.path.exists()
    pickle.loads(pickle.dumps(harmful))  # noqa: S301
    assert harmful.path.exists()  # so the test can fail


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.pth", b"hello", "cannot be read as weights: it is no torch file; save"),
        ("a.pth", b"epoch 1", "cannot be read as weights: it is no torch file; save"),
        ("a.pth", b"PK", "cannot be read as weights: "),
        ("a.safetensors", b"hello", "cannot be read as weights: SafetensorError"),
        ("a.pth", {"epoch": 3}, "holds no tensors"),
        ("a.pth", None, "cannot read .*: Is a directory$"),
        ("a.pth", b"", "cannot be read as weights: it is no torch file; save"),
        ("a.pth", pickle.dumps(Path("x"), 4), r"cannot be read as weights: Unsupported operand 149; save"),
    ],
)
def test_what_holds_no_weights_is_refused_in_one_line(tmp_path, name, content, complaint, recwarn):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(RequestError, match=complaint) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert not recwarn.list
