"""A queue of embeddings of earlier batches, as MoCo's negatives and NNCLR's support set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from methods.losses import full_precision
from methods.state_names import load_old_names

if TYPE_CHECKING:
    from torch import Tensor


class Queue(nn.Module):
    """The last ``size`` embeddings that were pushed, first in, first out. Starts with random directions.

    Args:
        size: number of embeddings held.
        dim: size of an embedding.

    Attributes:
        embeddings: (size, dim) float32 buffer, rows normalised.
        pointer: int64 scalar buffer, the row that is replaced next.
    """

    embeddings: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", F.normalize(torch.randn(size, dim)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        load_old_names(self, {"rows": "embeddings", "place": "pointer"})

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Replace the oldest rows by (n, dim) embeddings; if n exceeds ``size``, by the last ``size`` of them."""
        size = len(self.embeddings)
        newest = F.normalize(embeddings[-size:].float())
        rows = (self.pointer + torch.arange(len(newest), device=newest.device)) % size
        self.embeddings.index_copy_(0, rows, newest)
        self.pointer.add_(len(newest)).remainder_(size)

    @torch.no_grad()
    def nearest(self, embeddings: Tensor) -> Tensor:
        """For each of (n, dim) embeddings, the queued one with the largest cosine similarity: (n, dim)."""
        return self.embeddings.index_select(0, cosine_similarities(embeddings, self.embeddings).argmax(1))


@full_precision
def cosine_similarities(queries: Tensor, keys: Tensor) -> Tensor:
    """Cosine similarities (n, m) of queries (n, dim), which are normalised here, and normalised keys (m, dim)."""
    return F.normalize(queries) @ keys.T


def topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``x.topk(k, dim=1)``, on CPUs several times as fast for long rows.

    Columns are divided into groups; the k largest entries of a row are in the k groups with the largest maxima. Finding
    the maxima takes one pass over the row, and few entries are left to be sorted.

    Args:
        x: (n, m).
        k: at most m.

    Returns:
        Values (n, k), in descending order, and their columns. Of equal values any may be taken, as by ``topk``.
    """
    columns = x.shape[1]
    groups = round((k * columns) ** 0.5)  # the fewest entries to sort: one for each group, and those of k groups
    if x.device.type != "cpu" or columns < 8 * groups:
        values, index = x.topk(k, dim=1)
        return values, index
    grouped = columns // groups * groups
    chosen = x[:, :grouped].unflatten(1, (-1, groups)).amax(1).topk(k, dim=1).indices
    members = (chosen[:, :, None] + torch.arange(0, grouped, groups)).flatten(1)
    candidates = torch.cat([members, torch.arange(grouped, columns).expand(len(x), -1)], dim=1)
    values, position = x.gather(1, candidates).topk(k, dim=1)
    return values, candidates.gather(1, position)
