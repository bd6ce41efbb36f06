"""The relation head of relational reasoning, over all pairs of a batch at once.

Pairs are those of the code of Patacchiola & Storkey (2020). Given k views of m images, every view i is paired twice
with every later view j: with its images in the same order (positives), and with its images shifted cyclically
(negatives). The head applied to a pair is Linear, BatchNorm over all pairs, LeakyReLU, Linear to one logit.

There are m·k·(k - 1) pairs, 63,488 for 64 images and 32 views, but only m·k views. What is linear in a pair is computed
once per view: the first layer, the moments of the BatchNorm, and all gradients but for the signs of the hidden units.
Hidden units are computed pair by pair in blocks that fit a cache, and again for the gradient instead of being stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, cycle
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from methods.losses import full_precision

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["cat", "sum", "mean", "max"]

NEGATIVE_SLOPE = 0.01
"""Slope of the LeakyReLU for negative inputs."""


class RelationHead(nn.Module):
    """One logit for every pair of views.

    Args:
        dim: size of a representation.
        aggregation: how two representations become one input; ``cat`` is [z_i; z_j], the others are element-wise.
        hidden: width of the hidden layer.

    Attributes:
        reference: whether to compute every pair's input in memory, as in the definition. Slow; for comparison, and for
            ``max``, which is not linear in a pair.
    """

    def __init__(self, dim: int, aggregation: Aggregation, hidden: int) -> None:
        super().__init__()
        self.reference = aggregation == "max"
        self.aggregation = aggregation
        self.first = nn.Linear(2 * dim if aggregation == "cat" else dim, hidden)
        self.norm = nn.BatchNorm1d(hidden, track_running_stats=False)
        self.last = nn.Linear(hidden, 1)

    def forward(self, z: Tensor, views: int) -> Tensor:
        """Logits of all pairs.

        Args:
            z: (views · images, dim) representations, view v of image m in row v·images + m.
            views: k, number of views per image.

        Returns:
            (k·(k - 1)/2, 2, images): for each pair of views i < j in order, its positives, then its negatives. In
            column m, image m of view i is paired with image m, or m minus the shift, of view j.
        """
        if self.reference:
            return self._forward_reference(z.unflatten(0, (views, -1)))
        left, right = (part.unflatten(0, (views, -1)) for part in self._split_first_layer(z))
        logits = pair_logits(left, right, self.norm.weight, self.norm.bias, self.last.weight[0], self.norm.eps)
        return logits + self.last.bias

    def _split_first_layer(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms (rows, hidden) of the first layer: of a row as the first, and as the second of a pair."""
        weight, bias = self.first.weight, self.first.bias
        if self.aggregation == "cat":
            left, right = weight.chunk(2, dim=1)
            return F.linear(z, left, bias), F.linear(z, right)
        half = F.linear(z, weight) * (0.5 if self.aggregation == "mean" else 1.0)
        return half + bias, half

    def _forward_reference(self, z: Tensor) -> Tensor:
        """Logits of all pairs, each pair's input made in memory; z (views, images, dim)."""
        views, images = z.shape[:2]
        pairs = [
            aggregate(self.aggregation, z[i], partner)
            for (i, j), shift in zip(combinations(range(views), 2), negative_shifts(views, images), strict=True)
            for partner in (z[j], z[j].roll(shift, 0))
        ]
        hidden = F.leaky_relu(self.norm(self.first(torch.cat(pairs))), NEGATIVE_SLOPE)
        logits: Tensor = self.last(hidden)
        return logits.view(-1, 2, images)


def negative_shifts(views: int, images: int) -> list[int]:
    """The cyclic shift of the negatives of each pair of views i < j: 1, 2, …, ``images`` - 1, then from 1 again."""
    pairs = combinations(range(views), 2)
    return [shift for _, shift in zip(pairs, cycle(range(1, images)), strict=False)]


def aggregate(aggregation: Aggregation, first: Tensor, second: Tensor) -> Tensor:
    """Combine the representations (n, dim) of n pairs into inputs: (n, 2·dim) for ``cat``, else (n, dim)."""
    if aggregation == "cat":
        return torch.cat([first, second], dim=1)
    if aggregation == "max":
        return torch.maximum(first, second)
    return (first + second) * (0.5 if aggregation == "mean" else 1.0)


@dataclass(frozen=True)
class SegmentIndex:
    """Indices for sums over segments of rows.

    Attributes:
        rows: int64 indices of the rows to sum, segment after segment.
        starts: (segments,) int64, where in ``rows`` each segment starts; it ends where the next one starts.
    """

    rows: Tensor
    starts: Tensor

    @classmethod
    def of_views(cls, views: list[list[Tensor]]) -> SegmentIndex:
        """One segment for every image of every view.

        Args:
            views: for each view, index tensors (images,); entry m of each is one row of image m's segment.
        """
        tables = [torch.stack(lists, dim=1) if lists else torch.empty(0, 0, dtype=torch.long) for lists in views]
        images = max(len(table) for table in tables)
        sizes = torch.tensor([table.shape[1] for table in tables]).repeat_interleave(images)
        return cls(torch.cat([table.flatten() for table in tables]), sizes.cumsum(0) - sizes)

    def sums(self, matrix: Tensor) -> Tensor:
        """The sum of each segment's rows of a matrix (n, width): (segments, width)."""
        return F.embedding_bag(self.rows, matrix, self.starts, mode="sum")

    def to(self, device: torch.device) -> SegmentIndex:
        """A copy on a device."""
        return SegmentIndex(self.rows.to(device), self.starts.to(device))


@dataclass(frozen=True)
class PairIndex:
    """Which rows (view v of image m is row v·images + m) are paired with which.

    The pairs whose first view is i form block i, of shape (later views, 2, images): for every later view, positives,
    then negatives.

    Attributes:
        partners: for every view but the last, the second row of each pair of its block, flattened.
        block_positions: for every view but the last, one segment per row of the later views: its two positions in the
            flattened block.
        seconds: one segment per row: the rows it is paired with as the first of a pair.
        firsts: one segment per row: the rows it is paired with as the second of a pair.
    """

    partners: list[Tensor]
    block_positions: list[SegmentIndex]
    seconds: SegmentIndex
    firsts: SegmentIndex


@lru_cache(maxsize=8)
def pair_index(views: int, images: int, device: torch.device) -> PairIndex:
    """The indices of all pairs of ``views`` views of ``images`` images, on a device."""
    image = torch.arange(images)
    shifts = iter(negative_shifts(views, images))
    seconds: list[list[Tensor]] = [[] for _ in range(views)]
    firsts: list[list[Tensor]] = [[] for _ in range(views)]
    block_positions = []
    for i in range(views - 1):
        positions = []
        for block, j in enumerate(range(i + 1, views)):
            shift = next(shifts)
            before, after = (image - shift) % images, (image + shift) % images
            seconds[i] += [j * images + image, j * images + before]
            firsts[j] += [i * images + image, i * images + after]
            positions.append([2 * block * images + image, (2 * block + 1) * images + after])
        block_positions.append(SegmentIndex.of_views(positions).to(device))
    partners = [torch.cat(rows).to(device) for rows in seconds[:-1]]
    return PairIndex(
        partners, block_positions, SegmentIndex.of_views(seconds).to(device), SegmentIndex.of_views(firsts).to(device)
    )


class PairLogitsFunction(torch.autograd.Function):
    """BatchNorm, LeakyReLU and a weighted sum of left[i] + right[j] for every pair, with a hand-written gradient.

    With x = (left + right - mean) / deviation over all pairs and u = gamma·x + beta, the logit of a pair is the sum of
    weight·leaky_relu(u) over hidden units. The slope of leaky_relu is a + b·sign(u).
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, left: Tensor, right: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
    ) -> Tensor:
        """See :func:`pair_logits`."""
        views, images, width = left.shape
        index = pair_index(views, images, left.device)
        left_count, right_count = pair_counts(views, left.device)
        pairs = views * (views - 1) * images
        # Subtract the mean over all pairs from each term, so that left[i] + right[j] has mean 0.
        left = left - (left_count * left).sum((0, 1)) / pairs
        right = right - (right_count * right).sum((0, 1)) / pairs
        partners_of_left = index.seconds.sums(right.flatten(0, 1)).view_as(left)
        square = left_count * left.square() + right_count * right.square() + 2 * left * partners_of_left
        scale = (square.sum((0, 1)) / pairs + eps).rsqrt()
        x_left, x_right = left * scale, right * scale
        u_left, u_right = x_left * gamma + beta, (x_right * gamma).flatten(0, 1)
        logits = [
            F.leaky_relu_(u_right.index_select(0, rows).view(-1, images, width).add_(u_left[i]), NEGATIVE_SLOPE)
            @ weight
            for i, rows in enumerate(index.partners)
        ]
        ctx.save_for_backward(x_left, x_right, gamma, beta, weight, scale, partners_of_left * scale)
        return torch.cat(logits).view(-1, 2, images)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for left, right, gamma, beta and weight."""
        x_left, x_right, gamma, beta, weight, scale, x_partners_left = ctx.saved_tensors
        views, images, width = x_left.shape
        index = pair_index(views, images, x_left.device)
        left_count, right_count = pair_counts(views, x_left.device)
        pairs = views * (views - 1) * images
        u_left, u_right = x_left * gamma + beta, x_right * gamma

        # For each row, sums over its pairs: of the logits' gradients g, of g·sign(u), and of its partners' x.
        g_left, g_right = (torch.zeros(views, images, 1, device=x_left.device) for _ in range(2))
        sign_left, sign_right = (torch.zeros_like(x_left) for _ in range(2))
        x_partners_right = index.firsts.sums(x_left.flatten(0, 1)).view_as(x_left)
        blocks = grads[0].reshape(-1, images, 1).split([2 * later for later in range(views - 1, 0, -1)])
        for i, (g, rows, positions) in enumerate(zip(blocks, index.partners, index.block_positions, strict=True)):
            signs = u_right.flatten(0, 1).index_select(0, rows).view(-1, images, width)
            signs.add_(u_left[i]).sign_().mul_(g)
            g_left[i], sign_left[i] = g.sum(0), signs.sum(0)
            g_right[i + 1 :] += positions.sums(g.flatten(0, 1)).view(-1, images, 1)
            sign_right[i + 1 :] += positions.sums(signs.view(-1, width)).view(-1, images, width)

        a, b = (1 + NEGATIVE_SLOPE) / 2, (1 - NEGATIVE_SLOPE) / 2
        slope_left, slope_right = a * g_left + b * sign_left, a * g_right + b * sign_right
        grad_weight = (slope_left * u_left).sum((0, 1)) + (slope_right * u_right).sum((0, 1))
        du_left, du_right = slope_left * weight, slope_right * weight
        grad_beta = du_left.sum((0, 1))
        grad_gamma = (du_left * x_left).sum((0, 1)) + (du_right * x_right).sum((0, 1))
        mean, slope = grad_beta / pairs, grad_gamma / pairs
        grad_left = gamma * scale * (du_left - left_count * mean - (left_count * x_left + x_partners_left) * slope)
        grad_right = (
            gamma * scale * (du_right - right_count * mean - (right_count * x_right + x_partners_right) * slope)
        )
        return grad_left, grad_right, grad_gamma, grad_beta, grad_weight, None


def pair_counts(views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each view, the number of pairs in which a row is the first, and the second: (views, 1, 1) float32 each."""
    view = torch.arange(views, device=device, dtype=torch.float32).view(-1, 1, 1)
    return 2 * (views - 1 - view), 2 * view


@full_precision
def pair_logits(  # noqa: PLR0917 - tensors go by position
    left: Tensor, right: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
) -> Tensor:
    """Logits without the last layer's bias of all pairs, whose first layer's output is left[i] + right[j].

    Args:
        left: (views, images, width) first layer's term of each row as the first of a pair.
        right: (views, images, width) first layer's term of each row as the second of a pair.
        gamma: (width,) scale of the BatchNorm.
        beta: (width,) offset of the BatchNorm.
        weight: (width,) weight of the last layer.
        eps: added to the variance by the BatchNorm.

    Returns:
        (pairs of views, 2, images), as in :meth:`RelationHead.forward`.
    """
    logits: Tensor = PairLogitsFunction.apply(left, right, gamma, beta, weight, eps)
    return logits
