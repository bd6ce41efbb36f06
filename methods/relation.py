"""The relation head of relational reasoning, over all pairs of a batch at once.

Pairs are those of the code of Patacchiola & Storkey (2020). Of k views of m images, every view i meets every later view
j twice: image by image (positives), and with the images of view j shifted by some places (negatives). The head applied
to a pair is Linear, BatchNorm over all pairs, LeakyReLU, Linear to one logit.

There are m·k·(k - 1) pairs, 63,488 for 64 images and 32 views, but only m·k views. What is linear in a pair is computed
once per view: the first layer, the moments of the BatchNorm, and all gradients but for the signs of the hidden units.
Those are made pair by pair in blocks that fit a cache, and made again for the gradient instead of being kept.
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

SLOPE = 0.01
"""Of the LeakyReLU for negative inputs."""


def shifts(views: int, images: int) -> list[int]:
    """How far the negatives of each pair of views i < j are shifted: 1, 2, … and after ``images`` - 1 from 1 again."""
    pairs = combinations(range(views), 2)
    return [shift for _, shift in zip(pairs, cycle(range(1, images)), strict=False)]


class RelationHead(nn.Module):
    """One logit for every pair of views.

    Args:
        dim: size of a representation.
        aggregation: how two representations become one input; ``cat`` is [z_i; z_j], the others are element-wise.
        hidden: width.

    Attributes:
        reference: make every pair's input in memory, as the definition reads; the slow way, to compare with.
    """

    def __init__(self, dim: int, aggregation: Aggregation, hidden: int) -> None:
        super().__init__()
        self.reference = aggregation == "max"  # which is not linear in a pair
        self.aggregation = aggregation
        self.first = nn.Linear(2 * dim if aggregation == "cat" else dim, hidden)
        self.norm = nn.BatchNorm1d(hidden, track_running_stats=False)
        self.last = nn.Linear(hidden, 1)

    def forward(self, z: Tensor, views: int) -> Tensor:
        """Logits of all pairs.

        Args:
            z: (views · images, dim), view v of image m in row v·images + m.
            views: k.

        Returns:
            (k·(k - 1)/2, 2, images): for each i < j in order, its positives, then its negatives; in row m, image m of
            view i meets image m, or m minus the shift, of view j.
        """
        if self.reference:
            return self._materialised(z.unflatten(0, (views, -1)))
        left, right = (half.unflatten(0, (views, -1)) for half in self._halves(z))
        logits = pair_logits(left, right, self.norm.weight, self.norm.bias, self.last.weight[0], self.norm.eps)
        return logits + self.last.bias

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer's share of every row, as first and as second of a pair."""
        weight, bias = self.first.weight, self.first.bias
        if self.aggregation == "cat":
            left, right = weight.chunk(2, dim=1)
            return F.linear(z, left, bias), F.linear(z, right)
        half = F.linear(z, weight) * (0.5 if self.aggregation == "mean" else 1.0)
        return half + bias, half

    def _materialised(self, z: Tensor) -> Tensor:
        views, images = z.shape[:2]
        pairs = [
            aggregated(self.aggregation, z[i], partner)
            for (i, j), shift in zip(combinations(range(views), 2), shifts(views, images), strict=True)
            for partner in (z[j], z[j].roll(shift, 0))
        ]
        hidden = F.leaky_relu(self.norm(self.first(torch.cat(pairs))), SLOPE)
        logits: Tensor = self.last(hidden)
        return logits.view(-1, 2, images)


def aggregated(aggregation: Aggregation, first: Tensor, second: Tensor) -> Tensor:
    """One input (n, …) of the representations (n, dim) of each pair."""
    if aggregation == "cat":
        return torch.cat([first, second], dim=1)
    if aggregation == "max":
        return torch.maximum(first, second)
    return (first + second) * (0.5 if aggregation == "mean" else 1.0)


@dataclass(frozen=True)
class SegmentIndex:
    """Rows to be summed: those of bag b are ``rows`` from ``starts[b]`` to the next start."""

    rows: Tensor
    starts: Tensor

    @classmethod
    def of_views(cls, views: list[list[Tensor]]) -> SegmentIndex:
        """A bag for every image of every view; each view has lists (images,) of one row for each image."""
        tables = [torch.stack(lists, dim=1) if lists else torch.empty(0, 0, dtype=torch.long) for lists in views]
        images = max(len(table) for table in tables)
        sizes = torch.tensor([table.shape[1] for table in tables]).repeat_interleave(images)
        return cls(torch.cat([table.flatten() for table in tables]), sizes.cumsum(0) - sizes)

    def sums(self, matrix: Tensor) -> Tensor:
        """Sum of each bag's rows of a matrix (n, width): (bags, width)."""
        return F.embedding_bag(self.rows, matrix, self.starts, mode="sum")

    def to(self, device: torch.device) -> SegmentIndex:
        """The same on a device."""
        return SegmentIndex(self.rows.to(device), self.starts.to(device))


@dataclass(frozen=True)
class PairIndex:
    """Who meets whom; ``n`` is the number of views after a view.

    Attributes:
        partners: for every view but the last, (n·2·images,) rows of the second views, in the order of a block
            (n, 2, images) of pairs.
        places: for every view but the last, for each row of the later views its two places in that block.
        seconds: the rows that a row meets as the first of a pair.
        firsts: the rows that a row meets as the second of a pair.
    """

    partners: list[Tensor]
    places: list[SegmentIndex]
    seconds: SegmentIndex
    firsts: SegmentIndex


@lru_cache(maxsize=8)
def pair_index(views: int, images: int, device: torch.device) -> PairIndex:
    """The meetings of all views with those after them."""
    image = torch.arange(images)
    shift = iter(shifts(views, images))
    seconds: list[list[Tensor]] = [[] for _ in range(views)]
    firsts: list[list[Tensor]] = [[] for _ in range(views)]
    places = []
    for i in range(views - 1):
        in_block = []
        for block, j in enumerate(range(i + 1, views)):
            step = next(shift)
            before, after = (image - step) % images, (image + step) % images
            seconds[i] += [j * images + image, j * images + before]
            firsts[j] += [i * images + image, i * images + after]
            in_block.append([2 * block * images + image, (2 * block + 1) * images + after])
        places.append(SegmentIndex.of_views(in_block).to(device))
    partners = [torch.cat(rows).to(device) for rows in seconds[:-1]]
    return PairIndex(
        partners, places, SegmentIndex.of_views(seconds).to(device), SegmentIndex.of_views(firsts).to(device)
    )


class PairLogits(torch.autograd.Function):
    """BatchNorm, LeakyReLU and a weighted sum over left[i] + right[j] for every pair, with its gradient by hand.

    With x = (left + right - mean) / deviation over all pairs and u = gamma·x + beta, the logit of a pair is the sum of
    weight·leaky(u) over hidden units. The slope of leaky is a + b·sign(u).
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, left: Tensor, right: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
    ) -> Tensor:
        """See :func:`pair_logits`."""
        views, images, width = left.shape
        index = pair_index(views, images, left.device)
        as_left, as_right = roles(views, left.device)
        pairs = views * (views - 1) * images
        left = left - (as_left * left).sum((0, 1)) / pairs
        right = right - (as_right * right).sum((0, 1)) / pairs
        sum_met = index.seconds.sums(right.flatten(0, 1)).view_as(left)
        square = as_left * left.square() + as_right * right.square() + 2 * left * sum_met
        scale = (square.sum((0, 1)) / pairs + eps).rsqrt()
        x_left, x_right = left * scale, right * scale
        u_left, u_right = x_left * gamma + beta, (x_right * gamma).flatten(0, 1)
        logits = [
            F.leaky_relu_(u_right.index_select(0, rows).view(-1, images, width).add_(u_left[i]), SLOPE) @ weight
            for i, rows in enumerate(index.partners)
        ]
        ctx.save_for_backward(x_left, x_right, gamma, beta, weight, scale, sum_met * scale)
        return torch.cat(logits).view(-1, 2, images)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for left, right, gamma, beta and weight."""
        x_left, x_right, gamma, beta, weight, scale, x_met_left = ctx.saved_tensors
        views, images, width = x_left.shape
        index = pair_index(views, images, x_left.device)
        as_left, as_right = roles(views, x_left.device)
        pairs = views * (views - 1) * images
        u_left, u_right = x_left * gamma + beta, x_right * gamma

        # Over the pairs that a row takes part in, the sums of g, of g·sign(u), and of its partners' x.
        g_left, g_right = (torch.zeros(views, images, 1, device=x_left.device) for _ in range(2))
        sign_left, sign_right = (torch.zeros_like(x_left) for _ in range(2))
        x_met_right = index.firsts.sums(x_left.flatten(0, 1)).view_as(x_left)
        blocks = grads[0].reshape(-1, images, 1).split([2 * later for later in range(views - 1, 0, -1)])
        for i, (g, rows, places) in enumerate(zip(blocks, index.partners, index.places, strict=True)):
            signs = u_right.flatten(0, 1).index_select(0, rows).view(-1, images, width)
            signs.add_(u_left[i]).sign_().mul_(g)
            g_left[i], sign_left[i] = g.sum(0), signs.sum(0)
            g_right[i + 1 :] += places.sums(g.flatten(0, 1)).view(-1, images, 1)
            sign_right[i + 1 :] += places.sums(signs.view(-1, width)).view(-1, images, width)

        a, b = (1 + SLOPE) / 2, (1 - SLOPE) / 2
        slope_left, slope_right = a * g_left + b * sign_left, a * g_right + b * sign_right
        grad_weight = (slope_left * u_left).sum((0, 1)) + (slope_right * u_right).sum((0, 1))
        du_left, du_right = slope_left * weight, slope_right * weight
        grad_beta = du_left.sum((0, 1))
        grad_gamma = (du_left * x_left).sum((0, 1)) + (du_right * x_right).sum((0, 1))
        mean, slope = grad_beta / pairs, grad_gamma / pairs
        grad_left = gamma * scale * (du_left - as_left * mean - (as_left * x_left + x_met_left) * slope)
        grad_right = gamma * scale * (du_right - as_right * mean - (as_right * x_right + x_met_right) * slope)
        return grad_left, grad_right, grad_gamma, grad_beta, grad_weight, None


def roles(views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """In how many pairs a row of each view (views, 1, 1) is the first, and in how many the second."""
    view = torch.arange(views, device=device, dtype=torch.float32).view(-1, 1, 1)
    return 2 * (views - 1 - view), 2 * view


@full_precision
def pair_logits(  # noqa: PLR0917 - tensors go by position
    left: Tensor, right: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
) -> Tensor:
    """Logits, but for the bias, of all pairs whose first layer's outcome is left[i] + right[j].

    Args:
        left: (views, images, width), the share of a row that comes first.
        right: (views, images, width), the share of a row that comes second.
        gamma: (width,) BatchNorm's scale.
        beta: (width,) its offset.
        weight: (width,) of the last layer.
        eps: of the BatchNorm.

    Returns:
        (pairs of views, 2, images), as in :meth:`RelationHead.forward`.
    """
    logits: Tensor = PairLogits.apply(left, right, gamma, beta, weight, eps)
    return logits
