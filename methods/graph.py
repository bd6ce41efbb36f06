"""Nearest neighbours during pretraining: a bank of one feature per image, and a history of each image's neighbours.

Both cover the whole pretraining split and are buffers of the method. For n images of d features and w lists of k
neighbours each, a bank takes 4·n·d bytes and a ring buffer 4·n·w·k. With d = 768 that is 154 MB and 3 MB for CIFAR's
50,000 images (w = 5, k = 3), and 3.9 GB and 51 MB for ImageNet's 1.28 million (w = 10, k = 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from methods.memory import cosine_similarities, topk
from methods.state_names import load_old_names

if TYPE_CHECKING:
    from torch import Tensor

EMPTY = -1
"""Index that stands for no neighbour."""

SIMILARITIES_PER_BLOCK = 2**26
"""Similarities in memory at a time: 256 MB."""


class Bank(nn.Module):
    """A feature bank: the normalised feature of every image from the last step that saw it; zero before.

    Args:
        images: number of images in the pretraining split.
        dim: size of a feature.

    Attributes:
        features: (images, dim) float32 buffer.
    """

    features: Tensor

    def __init__(self, images: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(images, dim))

    @torch.no_grad()
    def query_and_update(self, index: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Find the nearest neighbours of features in the bank by an exact search, then store the features.

        Args:
            index: (b,) indices of the images.
            features: (b, dim) their features; need not be normalised.
            count: number of neighbours to find.

        Returns:
            Indices and cosine similarities of the nearest images, best first, (b, count) each. An image may be its own
            neighbour, by the feature stored before. ``EMPTY`` stands for images that were never seen.
        """
        rows = max(1, SIMILARITIES_PER_BLOCK // len(self.features))
        blocks = [topk(cosine_similarities(some, self.features), count) for some in features.split(rows)]
        cosines, ids = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        self.features.index_copy_(0, index, F.normalize(features.float()))
        return ids.masked_fill(cosines == 0, EMPTY), cosines


class RingBuffer(nn.Module):
    """For every image, the last ``window`` rows of values that were written.

    Args:
        images: number of images in the pretraining split.
        window: number of rows held per image.
        width: values per row.
        empty: initial value; an int makes an int32 buffer, a float a float32 one.

    Attributes:
        slots: (images, window, width) buffer.
        write_counts: (images,) int32 buffer, how many rows were written for an image so far.
    """

    slots: Tensor
    write_counts: Tensor

    def __init__(self, images: int, window: int, width: int, empty: float) -> None:
        super().__init__()
        dtype = torch.int32 if isinstance(empty, int) else torch.float32
        self.register_buffer("slots", torch.full((images, window, width), empty, dtype=dtype))
        self.register_buffer("write_counts", torch.zeros(images, dtype=torch.int32))
        load_old_names(self, {"written": "write_counts"})

    @torch.no_grad()
    def write(self, index: Tensor, values: Tensor) -> None:
        """Replace the oldest row of each image at ``index`` (b,) by a row of ``values`` (b, width)."""
        counts = self.write_counts[index]
        self.slots[index, counts.long() % self.slots.shape[1]] = values.to(self.slots.dtype)
        self.write_counts[index] = counts + 1

    def read(self, index: Tensor) -> Tensor:
        """All rows of the images at ``index`` (b,), in no particular order: (b, window · width)."""
        return self.slots[index].flatten(1)


def exclude_self(ids: Tensor, index: Tensor, count: int) -> Tensor:
    """The first ``count`` neighbours of each image other than the image itself.

    Args:
        ids: (b, m) neighbours, best first; m > ``count``.
        index: (b,) indices of the images.
        count: number of neighbours to return.

    Returns:
        (b, count) neighbours, best first.
    """
    self_last = (ids == index[:, None]).int().argsort(dim=1, stable=True)
    return ids.gather(1, self_last)[:, :count]


def merge_neighbours(ids: Tensor, cosines: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Merge several lists of neighbours: those with the largest sum of similarities over all lists.

    Takes 4·b·m² bytes: 64 MB for 64 images and 500 neighbours.

    Args:
        ids: (b, m) neighbours of all lists, or ``EMPTY``.
        cosines: (b, m) their similarities.
        count: number of neighbours to return.

    Returns:
        Neighbours, best first, and their sums, (b, count) each; where there are too few, the sum is -inf.
    """
    same = ids[:, :, None] == ids[:, None, :]
    sums = (same * cosines[:, None, :]).sum(2)
    repeated = same.tril(-1).any(2)
    best_sums, columns = sums.masked_fill(repeated | (ids == EMPTY), float("-inf")).topk(count, dim=1)
    return ids.gather(1, columns), best_sums


def edge_list(neighbours: Tensor) -> Tensor:
    """The directed edges of a recorded graph.

    Args:
        neighbours: (images, edges per image) int32 neighbours of each image, or ``EMPTY``.

    Returns:
        (2, edges) int64; row 0 is a node, row 1 a neighbour that it chose. A neighbour chosen in several epochs makes
        several edges. torch-geometric sends messages from row 0 to row 1, so from a node to those it chose; swap the
        rows for messages from the chosen to the node.
    """
    node, column = (neighbours != EMPTY).nonzero(as_tuple=True)
    return torch.stack([node, neighbours[node, column].long()])
