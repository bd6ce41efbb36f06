"""What ranks share of a step: each sends its own images through the backbone, and gets to see what all of them give.

Every rank's heads and loss see the whole batch, as a lone process does. The backbone's BatchNorm has its statistics
over all ranks, and its gradients are added up. Methods know nothing of it, and the numbers are those of one process, to
rounding; but what a backbone draws at random, such as dropout, each rank draws for itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from protocols import ranks
from protocols.backbones.norm import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from methods.base import Backbone, Method


def among(views: Tensor, blocks: int, images: int) -> Tensor:
    """This rank's views (blocks · own, …) at their places among those of all images (blocks · images, …)."""
    if ranks.count() == 1:
        return views
    every = views.new_zeros((blocks * images, *views.shape[1:])).contiguous(memory_format=torch.channels_last)
    every.unflatten(0, (blocks, images))[:, ranks.own(images)] = views.unflatten(0, (blocks, len(views) // blocks))
    return every


class Step:
    """The step at work.

    Attributes:
        images: of its batch; 0 outside of steps, when every rank works for itself.
    """

    images = 0


@contextlib.contextmanager
def step(images: int) -> Iterator[None]:
    """Share the backbone's work on a batch of so many images; of 0, have every rank work for itself."""
    before, Step.images = Step.images, images if ranks.count() > 1 else 0
    try:
        yield
    finally:
        Step.images = before


def share(backbone: Backbone) -> None:
    """Make a backbone do its part of what it is given in a step, and return the whole; also copies of it.

    Names and shapes of its parameters stay, so that a state fits any number of ranks.
    """
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SyncBatchNorm
    backbone.__class__ = shared(type(backbone))


def shared(kind: type[Backbone]) -> type[Backbone]:
    """A kind of backbone that works together with those of the other ranks."""

    class Shared(kind):  # type: ignore[valid-type, misc]
        def forward(self, images: Tensor) -> Tensor:
            if not Step.images:
                return super().forward(images)  # type: ignore[no-any-return]
            return gathered(super().forward(mine(images)), len(images))

        def forward_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
            if not Step.images:
                return super().forward_with_map(images)  # type: ignore[no-any-return]
            part = mine(images)
            with step(0):
                outputs = super().forward_with_map(part)
            z, maps = (gathered(output, len(images)) for output in outputs)
            return z, maps

    return Shared


def mine(rows: Tensor) -> Tensor:
    """This rank's part of rows (k · images, …), block by block of ``images``."""
    return torch.cat([block[ranks.own(Step.images)] for block in rows.split(Step.images)])


def gathered(part: Tensor, rows: int) -> Tensor:
    """All ``rows``, of which each rank has the part that :func:`mine` gives it."""
    whole: Tensor = Gathered.apply(part, rows, Step.images)
    return whole


class Gathered(torch.autograd.Function):
    """Rows of all ranks. Every rank has the same loss of them, so that its own rows' gradient is already whole."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rows: int, images: int) -> Tensor:
        """See :func:`gathered`; added in float32, which is exact, since all but one of the terms are zero."""
        ctx.images = images
        whole = part.new_zeros((rows // images, images, *part.shape[1:]), dtype=torch.float32)
        whole[:, ranks.own(images)] = torch.stack(part.float().tensor_split(rows // images))
        distributed.all_reduce(whole)
        return whole.flatten(0, 1).to(part.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient for the part."""
        return grad.unflatten(0, (-1, ctx.images))[:, ranks.own(ctx.images)].flatten(0, 1), None, None


class AllSum(torch.autograd.Function):
    """Sum over ranks of what feeds each rank's own rows, whose gradients are therefore summed too."""

    @staticmethod
    def forward(_ctx: Any, term: Tensor) -> Tensor:
        """The sum."""
        return summed(term)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        """Gradient for the term."""
        return summed(grad)


def summed(term: Tensor) -> Tensor:
    """Sum over ranks."""
    result = term.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(result)
    return result


def total(number: int, device: torch.device) -> float:
    """Sum over ranks of a number."""
    if ranks.count() == 1:
        return number
    return summed(torch.tensor(number, dtype=torch.float64, device=device)).item()


class SyncBatchNorm(_BatchNorm):
    """BatchNorm with statistics over all ranks; unlike torch's, also on a CPU and for parts of unequal size."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(n, channels, …) to the same."""
        if not self.training or ranks.count() == 1:
            return super().forward(input)
        x, channels = input.float(), (1, -1, *[1] * (input.ndim - 2))
        others = [dim for dim in range(input.ndim) if dim != 1]
        number = summed(torch.full((1,), x.numel() / x.shape[1], device=x.device))
        mean = AllSum.apply(x.sum(others)) / number
        centred = x - mean.view(channels)
        variance = AllSum.apply(centred.square().sum(others)) / number
        follow(self, mean.detach(), variance.detach(), number)
        out: Tensor = centred * (variance + self.eps).rsqrt().view(channels)
        if self.affine:
            out = out * self.weight.view(channels) + self.bias.view(channels)
        return out.to(input.dtype)


def reduce_gradients(method: Method) -> None:
    """Give ranks the same gradients: the sum of the backbone's, and the mean of the heads', equal but for rounding."""
    if ranks.count() == 1:
        return
    parts = set(method.backbone.parameters())
    grads = [
        parameter.grad if parameter in parts else parameter.grad.div_(ranks.count())
        for parameter in method.parameters()
        if parameter.grad is not None
    ]
    reduced = summed(torch.cat([grad.flatten() for grad in grads]))
    for grad, part in zip(grads, reduced.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
