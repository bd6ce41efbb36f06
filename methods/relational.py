"""Relational reasoning: classify whether two views show the same image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.losses import focal_with_logits
from methods.registry import register_method
from methods.relation import RelationHead
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("relational")
class Relational(Method):
    """Self-supervised relational reasoning (Patacchiola & Storkey, NeurIPS 2020, arXiv 2006.05849).

    Pairs, head and weighting are those of the released code: pairs of views i < j only, negatives by cyclic shifts.

    Deviation: a batch must hold two images or more; the released code would make a single image its own negative.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of relational reasoning; defaults of the paper's CIFAR experiments and released code.

        Attributes:
            views: K, views per image.
            aggregation: how the two representations of a pair become the head's input: concatenated, or their
                element-wise sum, mean or maximum.
            loss: ``focal`` is the weighted form of the released code, ``bce`` is binary cross-entropy.
            gamma: exponent of the focal weight.
            alpha: focal weight of positives; that of negatives is 1 - ``alpha``.
            hidden: width of the relation head's hidden layer.
        """

        views: Annotated[int, AtLeast(2)] = 32
        aggregation: Literal["cat", "sum", "mean", "max"] = "cat"
        loss: Literal["focal", "bce"] = "focal"
        gamma: Annotated[float, AtLeast(0)] = 2.0
        alpha: Annotated[float, AtLeast(0), AtMost(1)] = 0.5
        hidden: Annotated[int, AtLeast(1)] = 256

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.head = RelationHead(backbone.dim, options.aggregation, options.hidden)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:
        """K views with the augmentation ``standard``."""
        return ("standard",) * options.views

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss over all pairs of the batch, and the accuracy of the pairs' classification."""
        logits = self.head(self.backbone(batch.views), self.options.views)
        same = 1.0 - torch.arange(2.0, device=logits.device)[:, None].expand_as(logits)  # positives, then negatives
        if self.options.loss == "bce":
            loss = F.binary_cross_entropy_with_logits(logits, same)
        else:
            loss = focal_with_logits(logits, same, gamma=self.options.gamma, alpha=self.options.alpha)
        return {"loss": loss, "pair_accuracy": ((logits > 0) == same.bool()).float().mean()}
