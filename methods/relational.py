"""Relational reasoning: tell whether two views show the same image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, cycle
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, Setting
from methods.losses import focal_with_logits
from methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["cat", "sum", "mean", "max"]


@register("relational")
class Relational(Method):
    """Self-supervised relational reasoning (Patacchiola & Storkey, NeurIPS 2020, arXiv 2006.05849).

    Pairs, head and weighting are those of the authors' released code: pairs of views i < j only, negatives by cyclic
    shifts. Deviation: a batch must hold two images or more; theirs would label a lone image as its own negative.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            views: K, views of every image; ≥ 2.
            aggregation: how the two representations of a pair become the head's input.
            loss: ``focal`` is the released, weighted form, ``bce`` plain binary cross-entropy.
            gamma: exponent of the focal weight.
            alpha: weight of positives in it; 1 - alpha is that of negatives.
            hidden: width of the relation head.
        """

        views: int = 32
        aggregation: Literal["cat", "sum", "mean", "max"] = "cat"
        loss: Literal["focal", "bce"] = "focal"
        gamma: float = 2.0
        alpha: float = 0.5
        hidden: int = 256

        def __post_init__(self) -> None:
            if self.views < 2:
                raise ValueError(f"views must be 2 or more to make pairs, not {self.views}")

    def __init__(self, backbone: Backbone, options: Options, setting: Setting) -> None:
        super().__init__(backbone, options, setting)
        self.head = RelationHead(backbone.dim, options.aggregation, options.hidden)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """K views of one recipe."""
        return ("standard",) * options.views

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss and accuracy over all pairs of the batch."""
        first, second, same = shifted_pairs(self.options.views, len(batch.index))
        first, second, same = (t.to(batch.views.device) for t in (first, second, same))
        logits = self.head(self.backbone(batch.views), first, second).float()
        if self.options.loss == "bce":
            loss = F.binary_cross_entropy_with_logits(logits, same)
        else:
            gamma, alpha = self.options.gamma, self.options.alpha
            loss = focal_with_logits(logits, same, gamma=gamma, alpha=alpha)
        return {"loss": loss, "pair_accuracy": ((logits > 0) == same.bool()).float().mean()}


def shifted_pairs(views: int, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of views i < j, of the same image and of an image some places further on.

    The shift starts at 1, grows by one from each (i, j) to the next and returns to 1 at ``images``; it is never 0.

    Returns:
        Rows of the first and of the second view, and 1.0 where both show one image; each (images · views · (views - 1),).
    """
    image = torch.arange(images)
    first, second, same = [], [], []
    for (i, j), shift in zip(combinations(range(views), 2), cycle(range(1, images))):
        first += [i * images + image] * 2
        second += [j * images + image, j * images + (image - shift) % images]
        same += [torch.ones(images), torch.zeros(images)]
    return torch.cat(first), torch.cat(second), torch.cat(same)


class RelationHead(nn.Module):
    """One logit a pair: aggregate, Linear, BatchNorm, LeakyReLU, Linear.

    The first layer is linear in each of the two representations (but for ``max``), so it is applied once per view and
    its outcomes are added per pair.

    Args:
        dim: size of a representation.
        aggregation: ``cat`` is [z_i; z_j], the others are element-wise.
        hidden: width.
    """

    def __init__(self, dim: int, aggregation: Aggregation, hidden: int) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.first = nn.Linear(2 * dim if aggregation == "cat" else dim, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Logits (p,) of the pairs (z[first], z[second]); z is (n, dim), the indices are (p,)."""
        if self.aggregation == "max":
            hidden = self.first(torch.maximum(z[first], z[second]))
        else:
            left, right = self._halves(z)
            hidden = left[first] + right[second]
        logits: Tensor = self.last(F.leaky_relu(self.norm(hidden)))
        return logits.squeeze(1)

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.first.weight, self.first.bias
        if self.aggregation == "cat":
            left, right = weight.chunk(2, dim=1)
            return F.linear(z, left, bias), F.linear(z, right)
        scale = 0.5 if self.aggregation == "mean" else 1.0
        half = F.linear(z, weight) * scale
        return half + bias, half
