"""Data-parallel training: each rank computes the backbone for its images, and receives all representations.

Every rank's heads and loss see the whole batch, as a single process does. The backbone's BatchNorm takes its
statistics over all ranks, and its gradients are added up. Methods need not know. The numbers are those of one process,
to rounding; only what a backbone draws at random, such as dropout, each rank draws for itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from protocols.backbones.norm import update_running_statistics
from protocols.pretrain.process_group import local_slice, world_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from methods.base import Backbone, Method


def scatter_local(views: Tensor, blocks: int, images: int) -> Tensor:
    """Scatter this rank's views to their rows among those of all ranks; the other rows are zero.

    Args:
        views: (blocks · local images, …), in ``blocks`` blocks of one row an image.
        blocks: number of blocks.
        images: of the whole batch.

    Returns:
        (blocks · images, …).
    """
    if world_size() == 1:
        return views
    every = views.new_zeros((blocks * images, *views.shape[1:])).contiguous(memory_format=torch.channels_last)
    every.unflatten(0, (blocks, images))[:, local_slice(images)] = views.unflatten(0, (blocks, len(views) // blocks))
    return every


class SharedBatch:
    """The batch that is divided between ranks.

    Attributes:
        images: in it; 0 outside of steps, when every rank computes all rows.
    """

    images = 0


@contextlib.contextmanager
def shared_batch(images: int) -> Iterator[None]:
    """Divide the backbone's work on a batch of ``images`` between ranks; with 0, every rank computes all rows."""
    before, SharedBatch.images = SharedBatch.images, images if world_size() > 1 else 0
    try:
        yield
    finally:
        SharedBatch.images = before


def make_data_parallel(backbone: Backbone) -> None:
    """Let a backbone and its copies compute this rank's part of a shared batch and return all rows.

    Names and shapes of its parameters stay, so that a checkpoint fits any number of ranks.
    """
    replace_batch_norms(backbone)
    backbone.register_forward_pre_hook(lambda _, inputs: (local_rows(inputs[0]),) if SharedBatch.images else None)
    backbone.register_forward_hook(
        lambda _, inputs, output: all_gather(output, rows_of_all_ranks(len(inputs[0]))) if SharedBatch.images else None
    )
    backbone.run_parallel = forward_local_rows


def forward_local_rows(forward: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> tuple[Tensor, ...]:
    """Outputs of ``forward`` for all ``images``, of which each rank computes its part."""
    if not SharedBatch.images:
        return forward(images)
    local = local_rows(images)
    with shared_batch(0):
        outputs = forward(local)
    return tuple(all_gather(output, len(images)) for output in outputs)


def local_rows(rows: Tensor) -> Tensor:
    """This rank's part of rows (k · images, …), block by block of ``images``."""
    return torch.cat([block[local_slice(SharedBatch.images)] for block in rows.split(SharedBatch.images)])


def rows_of_all_ranks(local: int) -> int:
    """Number of rows of all ranks, of which this rank has ``local``."""
    part = local_slice(SharedBatch.images)
    rows: int = local // (part.stop - part.start) * SharedBatch.images
    return rows


def all_gather(part: Tensor, rows: int) -> Tensor:
    """All ``rows``, of which each rank has the part that :func:`local_rows` gives it."""
    whole: Tensor = AllGather.apply(part, rows, SharedBatch.images)
    return whole


class AllGather(torch.autograd.Function):
    """Gather rows of all ranks. Every rank computes the same loss, so that the gradient of its rows is complete."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rows: int, images: int) -> Tensor:
        """See :func:`all_gather`; summed in float32, which is exact because all but one of the terms are zero."""
        ctx.images = images
        whole = part.new_zeros((rows // images, images, *part.shape[1:]), dtype=torch.float32)
        whole[:, local_slice(images)] = torch.stack(part.float().tensor_split(rows // images))
        distributed.all_reduce(whole)
        return whole.flatten(0, 1).to(part.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of this rank's rows."""
        return grad.unflatten(0, (-1, ctx.images))[:, local_slice(ctx.images)].flatten(0, 1), None, None


class AllReduceSum(torch.autograd.Function):
    """Sum of a term over ranks; gradients are summed over ranks too."""

    @staticmethod
    def forward(_ctx: Any, term: Tensor) -> Tensor:
        """The sum over ranks."""
        return all_reduce_sum(term)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        """Gradient of this rank's term."""
        return all_reduce_sum(grad)


def all_reduce_sum(term: Tensor) -> Tensor:
    """Sum over ranks."""
    result = term.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(result)
    return result


def total(number: int, device: torch.device) -> float:
    """Sum over ranks of a number."""
    if world_size() == 1:
        return number
    return all_reduce_sum(torch.tensor(number, dtype=torch.float64, device=device)).item()


class SyncBatchNorm(_BatchNorm):
    """BatchNorm with statistics over all ranks; unlike torch's, also on a CPU and for parts of unequal size."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise (n, channels, …)."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x, channels = input.float(), (1, -1, *[1] * (input.ndim - 2))
        others = [dim for dim in range(input.ndim) if dim != 1]
        number = all_reduce_sum(torch.full((1,), x.numel() / x.shape[1], device=x.device))
        mean = AllReduceSum.apply(x.sum(others)) / number
        centred = x - mean.view(channels)
        variance = AllReduceSum.apply(centred.square().sum(others)) / number
        update_running_statistics(self, mean.detach(), variance.detach(), number)
        out: Tensor = centred * (variance + self.eps).rsqrt().view(channels)
        if self.affine:
            out = out * self.weight.view(channels) + self.bias.view(channels)
        return out.to(input.dtype)


def replace_batch_norms(module: nn.Module) -> None:
    """Replace every BatchNorm by a :class:`SyncBatchNorm` with the same parameters and buffers."""
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            replace_batch_norms(child)
            continue
        sync = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        sync.weight, sync.bias = child.weight, child.bias
        sync.running_mean, sync.running_var = child.running_mean, child.running_var
        sync.num_batches_tracked = child.num_batches_tracked
        sync.train(child.training)
        module.register_module(name, sync)


def reduce_gradients(method: Method) -> None:
    """Reduce gradients over ranks: sum the backbone's, average the heads', which are equal up to rounding."""
    if world_size() == 1:
        return
    backbone_parameters = set(method.backbone.parameters())
    grads = [
        parameter.grad if parameter in backbone_parameters else parameter.grad.div_(world_size())
        for parameter in method.parameters()
        if parameter.grad is not None
    ]
    reduced = all_reduce_sum(torch.cat([grad.flatten() for grad in grads]))
    for grad, part in zip(grads, reduced.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
