"""What a method remembers of earlier batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from methods.losses import full_precision

if TYPE_CHECKING:
    from torch import Tensor


class Queue(nn.Module):
    """The last embeddings that were pushed, first in, first out; at the start, random directions.

    Args:
        size: how many it holds.
        dim: of an embedding.

    Attributes:
        rows: (size, dim) float32, normalised.
    """

    rows: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, dim)))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Replace the oldest rows by (n, dim) embeddings; of more than ``size`` only the last are kept."""
        size = len(self.rows)
        newest = F.normalize(embeddings[-size:].float())
        places = (self.place + torch.arange(len(newest), device=newest.device)) % size
        self.rows.index_copy_(0, places, newest)
        self.place.add_(len(newest)).remainder_(size)

    @torch.no_grad()
    def nearest(self, embeddings: Tensor) -> Tensor:
        """The row that is most similar, by cosine, to each of (n, dim) embeddings; (n, dim)."""
        return self.rows.index_select(0, similarities(embeddings, self.rows).argmax(1))


@full_precision
def similarities(embeddings: Tensor, rows: Tensor) -> Tensor:
    """Cosines (n, m) of embeddings (n, dim) and normalised rows (m, dim)."""
    return F.normalize(embeddings) @ rows.T
