"""An exported backbone without the library that trained it: plain torch, and timm where it is one of timm's models.

``bench export`` writes a copy of this file beside the weights. It imports nothing of bench::

    from model import load

    backbone = load()                                 # a torch module in evaluation mode
    features = backbone((images - mean) / std)        # images (n, 3, side, side) in [0, 1]; mean and std: card.json
"""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


def load(folder: str | Path | None = None) -> nn.Module:
    """The backbone with its weights, in evaluation mode.

    Args:
        folder: with ``card.json`` and ``model.safetensors``; by default that of this file.

    Returns:
        A module from images (n, 3, side, side), normalised as ``card.json`` says, to features (n, dim).
    """
    from safetensors.torch import load_file

    path = Path(folder) if folder else Path(__file__).parent
    card = json.loads((path / "card.json").read_text(encoding="utf-8"))
    network = build(card["architecture"])
    network.load_state_dict(load_file(path / "model.safetensors"))
    resized = card["architecture"].get("resize")
    return (Resized(network, resized) if resized else network).eval()


def build(architecture: dict[str, Any]) -> nn.Module:
    """The network that ``card.json`` describes, freshly initialised."""
    if architecture["kind"] == "conv4":
        return Conv4()
    if architecture["kind"] == "resnet":
        return ResNet(architecture["widths"], architecture["depths"], large_stem=architecture["large_stem"])
    import timm

    model: Any = timm.create_model(architecture["model"], num_classes=0, **architecture["options"])
    if architecture["small_stem"]:
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    network: nn.Module = model
    return network


class Resized(nn.Module):
    """A network of one input size, behind a bicubic filter."""

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network = network
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, any, any) to (n, dim)."""
        if images.shape[-1] != self.side:
            images = F.interpolate(images, size=self.side, mode="bicubic", antialias=True)
        features: Tensor = self.network(images)
        return features


def convolution(width_in: int, width_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A square convolution without bias, padded."""
    return nn.Conv2d(width_in, width_out, size, stride, padding=size // 2, bias=False)


def spatial_mean(maps: Tensor) -> Tensor:
    """(n, channels, height, width) to (n, channels)."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


class Conv4(nn.Module):
    """Conv-4 of Patacchiola & Storkey (2020)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 32, 64)
        for number, (width_in, width_out) in enumerate(itertools.pairwise(widths), 1):
            layers = {"conv": convolution(width_in, width_out), "bn": nn.BatchNorm2d(width_out)}
            self.add_module(f"layer{number}", nn.Sequential(OrderedDict(layers)))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, 64)."""
        maps = images
        for number in range(1, 5):
            maps = F.relu(self.get_submodule(f"layer{number}")(maps))
            if number < 4:
                maps = F.avg_pool2d(maps, 2)
        return spatial_mean(maps)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(width_in, width_out, 3, stride), nn.BatchNorm2d(width_out)
        self.conv2, self.bn2 = convolution(width_out, width_out), nn.BatchNorm2d(width_out)
        self.downsample = nn.Sequential()
        if stride != 1 or width_in != width_out:
            self.downsample = nn.Sequential(convolution(width_in, width_out, 1, stride), nn.BatchNorm2d(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h / stride, w / stride)."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.downsample(x))


class ResNet(nn.Module):
    """A ResNet of basic blocks, with the names of torchvision's."""

    def __init__(self, widths: list[int], depths: list[int], *, large_stem: bool) -> None:
        super().__init__()
        self.conv1 = convolution(3, widths[0], 7, 2) if large_stem else convolution(3, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large_stem else nn.Identity()
        self.stages = len(widths)
        width = widths[0]
        for stage, (out, depth) in enumerate(zip(widths, depths, strict=True), 1):
            blocks = []
            for number in range(depth):
                blocks.append(BasicBlock(width, out, stride=2 if stage > 1 and not number else 1))
                width = out
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, dim)."""
        maps = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for stage in range(1, self.stages + 1):
            maps = self.get_submodule(f"layer{stage}")(maps)
        return spatial_mean(maps)


if __name__ == "__main__":
    backbone = load()
    print(f"{sum(p.numel() for p in backbone.parameters()):,} parameters, torch {torch.__version__}")
