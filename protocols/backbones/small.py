"""The backbones of Patacchiola & Storkey (2020), with the parameter counts of their code.

All end in ReLU and global average pooling, so that representations are non-negative and images of any size are
accepted. Convolutions are initialised from a normal distribution by fan-out (He et al. 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from methods.base import Backbone
from protocols.backbones.block import Block, convolution_of
from protocols.backbones.pool import SpatialMean
from protocols.spec.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor


class Conv4(Backbone):
    """Four blocks of 8, 16, 32 and 64 channels, halved by average pooling after each but the last."""

    dim = 64
    stem: Block

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 8)
        self.second = Block(8, 16)
        self.third = Block(16, 32)
        self.fourth = Block(32, 64)
        self.mean = SpatialMean()

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, 64)."""
        return self._after_stem(self.stem.forward_pooled(images))

    def common_names(self) -> dict[str, str]:
        """See ``Backbone``; the names of the paper's code."""
        names = {}
        for key in self.state_dict():
            block, index, tensor = key.split(".")
            number = 1 + ("stem", "second", "third", "fourth").index(block)
            names[f"layer{number}.{('conv', 'bn')[int(index)]}.{tensor}"] = key
        return names

    def plain_architecture(self) -> dict[str, Any]:
        """See ``Backbone``."""
        return {"kind": "conv4"}

    def _forward_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Backbone``."""
        maps = self.stem(images)
        return self._after_stem(F.avg_pool2d(maps, 2)), maps

    def _after_stem(self, maps: Tensor) -> Tensor:
        for block in (self.second, self.third):
            maps = block.forward_pooled(maps)
        means: Tensor = self.mean(self.fourth(maps))
        return means


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which is a 1×1 convolution with BatchNorm where the shape changes."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.first = Block(width_in, width_out, stride=stride)
        self.second = nn.Sequential(convolution_of(width_out, width_out), nn.BatchNorm2d(width_out))
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width_out:
            self.shortcut = nn.Sequential(convolution_of(width_in, width_out, 1, stride), nn.BatchNorm2d(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h / stride, w / stride)."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(Backbone):
    """A residual network of basic blocks.

    Args:
        stem: the layers before the first stage, without pooling.
        pool: pooling after the stem.
        widths: channels of each stage.
        depths: blocks of each stage; every stage but the first starts with stride 2.
    """

    def __init__(self, stem: nn.Module, pool: nn.Module, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = stem
        self.pool = pool
        self.dim = widths[-1]
        blocks: list[nn.Module] = []
        width = widths[0]
        for stage, (out, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                blocks.append(BasicBlock(width, out, stride=2 if stage and not number else 1))
                width = out
        self.body = nn.Sequential(*blocks)
        self.widths = widths
        self.depths = depths
        self.mean = SpatialMean()

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, dim)."""
        means: Tensor = self.mean(self.body(self.pool(self.stem(images))))
        return means

    def common_names(self) -> dict[str, str]:
        """See ``Backbone``; the names of torchvision and of the paper's code."""
        layers = {"stem": ("conv1", "bn1"), "first": ("conv1", "bn1"), "second": ("conv2", "bn2")}
        blocks = [f"layer{stage}.{block}." for stage, depth in enumerate(self.depths, 1) for block in range(depth)]
        names = {}
        for key in self.state_dict():
            block, part, rest = "", *key.split(".", 1)
            if part == "body":
                number, part, rest = rest.split(".", 2)
                block = blocks[int(number)]
            index, tensor = rest.split(".")
            layer = f"downsample.{index}" if part == "shortcut" else layers[part][int(index)]
            names[f"{block}{layer}.{tensor}"] = key
        return names

    def plain_architecture(self) -> dict[str, Any]:
        """See ``Backbone``."""
        large_stem = not isinstance(self.pool, nn.Identity)
        return {"kind": "resnet", "widths": self.widths, "depths": self.depths, "large_stem": large_stem}


def cifar_resnet(depth: int) -> ResNet:
    """A ResNet of 6·depth + 2 layers for small images."""
    return ResNet(Block(3, 16), nn.Identity(), (16, 32, 64), (depth,) * 3)


@register_backbone("conv4")
def conv4(name: str) -> Backbone:  # noqa: ARG001
    """Conv-4: four small convolution blocks, 64 features, 24,648 parameters."""
    return Conv4()


@register_backbone("resnet8")
def resnet8(name: str) -> Backbone:  # noqa: ARG001
    """ResNet-8 for small images, 64 features, 77,392 parameters."""
    return cifar_resnet(1)


@register_backbone("resnet32")
def resnet32(name: str) -> Backbone:  # noqa: ARG001
    """ResNet-32 for small images, 64 features, 466,256 parameters."""
    return cifar_resnet(5)


@register_backbone("resnet56")
def resnet56(name: str) -> Backbone:  # noqa: ARG001
    """ResNet-56 for small images, 64 features, 855,120 parameters."""
    return cifar_resnet(9)


@register_backbone("resnet34")
def resnet34(name: str) -> Backbone:  # noqa: ARG001
    """ResNet-34 with the ImageNet stem (7×7 stride 2, max-pool), 512 features, 21,284,672 parameters."""
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return ResNet(Block(3, 64, 7, 2), pool, (64, 128, 256, 512), (3, 4, 6, 3))
