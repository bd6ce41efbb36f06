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
