"""Who is near whom while a method trains: a bank of every image's feature, and the neighbours each image has had.

Both span the whole pretraining split and lie in buffers. For n images of d features, and w lists of k neighbours each,
that is 4·n·d bytes for a bank and 4·n·w·k for a ring: 154 MB and 3 MB for CIFAR's 50,000 (d = 768, w = 5, k = 3),
3.9 GB and 51 MB for ImageNet's 1.28 million (w = 10, k = 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from methods.memory import similarities

if TYPE_CHECKING:
    from torch import Tensor

EMPTY = -1
"""Stands for no neighbour."""

BLOCK = 2**26
"""Similarities made at a time: 256 MB."""


class Bank(nn.Module):
    """The normalised feature of every image when it was last seen; zero before.

    Args:
        images: how many there are.
        dim: of a feature.

    Attributes:
        features: (images, dim) float32.
    """

    features: Tensor

    def __init__(self, images: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(images, dim))

    @torch.no_grad()
    def meet(self, index: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Find whom images are near, by an exact search, and only then put down their features.

        Args:
            index: (b,) positions of the images.
            features: (b, dim) of them; need not be normalised.
            count: how many neighbours are wanted.

        Returns:
            Positions and cosines of those nearest, best first, (b, count) each; an image itself may be among them, by
            its feature of before. ``EMPTY`` stands for images that were never seen.
        """
        rows = max(1, BLOCK // len(self.features))
        found = [similarities(some, self.features).topk(count, dim=1) for some in features.split(rows)]
        cosines, ids = (torch.cat(parts) for parts in zip(*found, strict=True))
        self.features.index_copy_(0, index, F.normalize(features.float()))
        return ids.masked_fill(cosines == 0, EMPTY), cosines


class Ring(nn.Module):
    """What was written for every image the last ``window`` times.

    Args:
        images: how many there are.
        window: times that are remembered.
        width: values written at a time.
        empty: value of what has not been written yet; its type is the buffer's, int32 or float32.

    Attributes:
        slots: (images, window, width).
        written: (images,) how many times, int32.
    """

    slots: Tensor
    written: Tensor

    def __init__(self, images: int, window: int, width: int, empty: float) -> None:
        super().__init__()
        dtype = torch.int32 if isinstance(empty, int) else torch.float32
        self.register_buffer("slots", torch.full((images, window, width), empty, dtype=dtype))
        self.register_buffer("written", torch.zeros(images, dtype=torch.int32))

    @torch.no_grad()
    def write(self, index: Tensor, values: Tensor) -> None:
        """Put down values (b, width) for the images at ``index`` (b,), in place of their oldest."""
        times = self.written[index]
        self.slots[index, times.long() % self.slots.shape[1]] = values.to(self.slots.dtype)
        self.written[index] = times + 1

    def of(self, index: Tensor) -> Tensor:
        """All that is remembered of the images at ``index`` (b,): (b, window · width)."""
        return self.slots[index].flatten(1)


def others(ids: Tensor, index: Tensor, count: int) -> Tensor:
    """The first ``count`` neighbours of each image other than itself.

    Args:
        ids: (b, m) neighbours, best first; m > ``count``.
        index: (b,) the images.
        count: how many are wanted.
    """
    order = (ids == index[:, None]).int().argsort(dim=1, stable=True)
    return ids.gather(1, order)[:, :count]


def vote(ids: Tensor, cosines: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The neighbours with the largest sum of similarities over several lists.

    Args:
        ids: (b, m) neighbours, or ``EMPTY``.
        cosines: (b, m) their similarities.
        count: how many are wanted.

    Returns:
        Neighbours, best first, and their sums, (b, count) each; where there are too few, the sum is -inf. Takes 4·b·m²
        bytes: 64 MB for 64 images and 500 neighbours.
    """
    same = ids[:, :, None] == ids[:, None, :]
    sums = (same * cosines[:, None, :]).sum(2)
    repeated = same.tril(-1).any(2)
    best, places = sums.masked_fill(repeated | (ids == EMPTY), float("-inf")).topk(count, dim=1)
    return ids.gather(1, places), best


def edge_list(ring: Tensor) -> Tensor:
    """The directed edges of a recorded graph.

    Args:
        ring: (images, edges an image) int32 neighbours, or ``EMPTY``.

    Returns:
        (2, edges) int64; row 0 is the node, row 1 a neighbour that it chose. A neighbour chosen in several epochs makes
        several edges. (Where messages run from row 0 to row 1, as in torch-geometric, nodes hear from those that chose
        them; swap the rows for nodes that hear from those they chose.)
    """
    node, slot = (ring != EMPTY).nonzero(as_tuple=True)
    return torch.stack([node, ring[node, slot].long()])
