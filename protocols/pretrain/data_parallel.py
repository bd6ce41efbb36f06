"""Data-parallel training: each rank computes the backbone for its images, and receives all representations.

Every rank's loss sees the whole batch, as a single process does. The backbone's BatchNorm takes its statistics over all
ranks. Small heads are computed for the whole batch by every rank; of large ones each rank computes its part of the
rows, as of the backbone. Gradients are averaged by torch's DistributedDataParallel, in buckets and while the backward
pass goes on. Methods need not know. The numbers are those of one process, to rounding; only what a backbone draws at
random, such as dropout, each rank draws for itself.

The average of gradients has to be a sum where each rank computes a part. There they are multiplied by the number of
ranks where they enter (`AllGather`), and divided by it where they leave (`LocalRows`).
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from methods.base import Backbone
from methods.heads import MLP
from protocols.backbones.norm import update_running_statistics
from protocols.pretrain.process_group import local_slice, part_of_rank, world_size
from protocols.system.device import float64_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from torch import Tensor

    from methods.base import Batch, Method

FLOPS_PER_BYTE = 8_000
"""Floating-point operations that a GPU computes in the time in which it sends one byte to another node.

An H100 has some 400 Tflop/s in bfloat16, and a network of 400 Gbit/s for each GPU, 50 GB/s.
"""


class LocalViews(torch.Tensor):
    """Views of all ranks' images, of which only this rank's are in memory.

    It has the shape of all of them, (k · images, 3, side, side). Slices and concatenations of whole blocks of
    ``images`` rows, and changes within every row that ``ROW_OPERATIONS`` lists, stay so. Any other operation makes the
    rows of all ranks, those of other ranks being zero: only the backbone has a use for them, and takes its own.

    Attributes:
        local: (k · this rank's images, 3, side, side).
        images: of the whole batch.
    """

    local: Tensor
    images: int

    def __new__(cls, local: Tensor, blocks: int, images: int) -> Self:
        """Views in ``blocks`` blocks of one row for each image of the batch."""
        views: Self = torch.Tensor._make_wrapper_subclass(  # noqa: SLF001 - as torch's documentation has it
            cls, (blocks * images, *local.shape[1:]), dtype=local.dtype, device=local.device
        )
        views.local, views.images = local, images
        return views

    @property
    def blocks(self) -> int:
        """Number of blocks of ``images`` rows."""
        return len(self) // self.images

    def __repr__(self) -> str:  # type: ignore[override]
        return f"LocalViews({self.blocks} × {self.images} images, {self.local!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """The operation on this rank's rows if it is one on blocks or within rows, else on the rows of all ranks."""
        kwargs = kwargs or {}
        result = on_blocks(function, args, kwargs)
        if result is None:
            args, kwargs = tree_map_only(cls, every_row, (args, kwargs))
            return function(*args, **kwargs)
        return result


ROW_OPERATIONS: dict[Any, Callable[[Any], Any]] = {
    torch.ops.aten.alias: lambda _: (),
    torch.ops.aten.clone: lambda _: (),
    torch.ops.aten.detach: lambda _: (),
    torch.ops.aten.flip: lambda arguments: arguments[1],
    torch.ops.aten.rot90: lambda arguments: arguments[2] if len(arguments) > 2 else (0, 1),
    torch.ops.aten.transpose: lambda arguments: arguments[1:],
    torch.ops.aten._to_copy: lambda _: (),  # noqa: SLF001 - the name of the operation
}
"""Operations on rows (n, …) that change each by itself unless they act on the first dimension, and the dimensions that
they act on, given their arguments."""


def on_blocks(function: Any, args: Any, kwargs: Any) -> Any:  # noqa: PLR0911 - one for each kind of operation
    """Result of an operation on :class:`LocalViews` as such; None if it does not stay within blocks of rows."""
    packet, views = function.overloadpacket, args[0]
    if packet is torch.ops.aten.cat and (args[1:] or (0,)) == (0,):
        if not all(isinstance(part, LocalViews) and part.images == views[0].images for part in views):
            return None
        local = function([part.local for part in views])
        return LocalViews(local, sum(part.blocks for part in views), views[0].images)
    if not isinstance(views, LocalViews):
        return None
    images, blocks = views.images, views.blocks
    if packet is torch.ops.aten.slice and args[1:2] in ((), (0,)) and args[4:] in ((), (1,)) and not kwargs:
        start, end, _ = slice(*args[2:4]).indices(len(views))
        return views if (start, end) == (0, len(views)) else blocks_between(views, [start, end - start])
    if packet in (torch.ops.aten.split, torch.ops.aten.split_with_sizes) and args[2:] in ((), (0,)) and not kwargs:
        sizes = args[1]
        if isinstance(sizes, int):
            sizes = [min(sizes, len(views) - start) for start in range(0, len(views), sizes)]
        parts = [blocks_between(views, [sum(sizes[:number]), size]) for number, size in enumerate(sizes)]
        return None if None in parts else parts
    if packet in ROW_OPERATIONS and all(dimension % views.ndim for dimension in ROW_OPERATIONS[packet](args)):
        return LocalViews(function(views.local, *args[1:], **kwargs), blocks, images)
    return None


def blocks_between(views: LocalViews, bounds: list[int]) -> LocalViews | None:
    """The rows from a start, so many of them, if they are whole blocks."""
    if any(bound % views.images for bound in bounds):
        return None
    first, count = (bound // views.images for bound in bounds)
    local = views.local.unflatten(0, (views.blocks, -1 if len(views.local) else 0))
    return LocalViews(local[first : first + count].flatten(0, 1), count, views.images)


def every_row(views: LocalViews) -> Tensor:
    """The rows of all ranks, (k · images, …); those of other ranks are zero."""
    every = views.local.new_zeros(views.shape).contiguous(memory_format=torch.channels_last)
    rows = every.unflatten(0, (views.blocks, views.images))[:, local_slice(views.images)]
    rows.copy_(views.local.view(rows.shape))
    return every


def local_views(local: Tensor, blocks: int, images: int) -> Tensor:
    """This rank's views as rows among those of all ranks.

    Args:
        local: (blocks · this rank's images, …), in ``blocks`` blocks of one row an image.
        blocks: number of blocks.
        images: of the whole batch.

    Returns:
        (blocks · images, …).
    """
    return local if world_size() == 1 else LocalViews(local, blocks, images)


class SharedBatch:
    """The batch that is divided between ranks.

    Attributes:
        images: in it; 0 outside of steps, when every rank computes all rows.
        shapes: blocks and rows in a block of the inputs that modules are computing now.
    """

    images = 0
    shapes: list[tuple[int, int]] = []  # noqa: RUF012 - like ``images``, one for the process


@contextlib.contextmanager
def shared_batch(images: int) -> Iterator[None]:
    """Divide the work on a batch of ``images`` between ranks; with 0, every rank computes all rows."""
    before, SharedBatch.images = SharedBatch.images, images if world_size() > 1 else 0
    try:
        yield
    finally:
        SharedBatch.images = before


def make_backbone_parallel(backbone: Backbone) -> None:
    """Let a backbone and its copies compute this rank's part of a shared batch and return all rows.

    Names and shapes of its parameters stay, so that a checkpoint fits any number of ranks.
    """
    replace_batch_norms(backbone)

    def split_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        if not SharedBatch.images:
            return None
        SharedBatch.shapes.append((len(inputs[0]) // SharedBatch.images, SharedBatch.images))
        return (local_images(inputs[0]),)

    backbone.register_forward_pre_hook(split_input)
    backbone.register_forward_hook(gather_output)
    backbone.run_parallel = forward_local_rows


def make_heads_parallel(method: Method) -> None:
    """Let every large MLP among a method's heads compute this rank's part of its rows and return all of them."""
    in_backbones = {one for module in method.modules() if isinstance(module, Backbone) for one in module.modules()}
    for head in method.modules():
        if isinstance(head, MLP) and head not in in_backbones and is_worth_dividing(head):
            replace_batch_norms(head)
            head.register_forward_pre_hook(split_head_input)
            head.register_forward_hook(gather_output)


def is_worth_dividing(head: MLP) -> bool:
    """Whether computing all rows on every rank takes longer than sending the output and its gradient.

    Forward and backward take 6 operations per weight and row. An input's gradient and an output are sent, 4 bytes a
    number.
    """
    layers = [layer for layer in head if isinstance(layer, nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    return 6 * weights > FLOPS_PER_BYTE * 4 * (layers[0].in_features + layers[-1].out_features)


def split_head_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
    """Hook before a head: this rank's part of its input."""
    if not SharedBatch.images:
        return None
    SharedBatch.shapes.append((1, len(inputs[0])))
    return (LocalRows.apply(inputs[0]),)


def gather_output(_: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    """Hook after a module that has computed this rank's rows: the rows of all ranks."""
    return all_gather(output, *SharedBatch.shapes.pop()) if SharedBatch.images else None


def forward_local_rows(forward: Callable[..., tuple[Tensor, ...]], images: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """Outputs of ``forward`` for all ``images`` and tensors with as many rows, of which each rank computes its part."""
    if not SharedBatch.images:
        return forward(images, *rows)
    batch = SharedBatch.images
    with shared_batch(0):
        outputs = forward(*(local_images(tensor, batch) for tensor in (images, *rows)))
    return tuple(all_gather(output, len(images) // batch, batch) for output in outputs)


def local_images(views: Tensor, images: int = 0) -> Tensor:
    """This rank's part of views (k · images, …), block by block of ``images``, by default those of the batch."""
    if isinstance(views, LocalViews):
        return views.local
    images = images or SharedBatch.images
    return torch.cat([block[local_slice(images)] for block in views.split(images)])


def all_gather(part: Tensor, blocks: int, rows: int) -> Tensor:
    """All ``blocks · rows`` rows, of which each rank has its :func:`local_slice` of every block of ``rows``."""
    whole: Tensor = AllGather.apply(part, blocks, rows)
    return whole


class AllGather(torch.autograd.Function):
    """Gather rows of all ranks. Every rank computes the same loss, so that the gradient of its rows is complete."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, blocks: int, rows: int) -> Tensor:
        """See :func:`all_gather`."""
        ctx.rows = rows
        return gather_rows(part, blocks, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of this rank's rows, times the number of ranks."""
        blocks = grad.unflatten(0, (-1, ctx.rows))
        return blocks[:, local_slice(ctx.rows)].flatten(0, 1) * world_size(), None, None


class LocalRows(torch.autograd.Function):
    """This rank's part of rows (n, …) that every rank has."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """The slice."""
        ctx.rows = len(rows)
        return rows[local_slice(len(rows))].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Gradient of all rows, from all ranks, divided by their number."""
        return gather_rows(grad, 1, ctx.rows) / world_size()


def gather_rows(part: Tensor, blocks: int, rows: int) -> Tensor:
    """:func:`all_gather` without gradient. Parts of unequal size are sent as if they were as large as the largest."""
    if world_size() == 1:
        return part
    sizes = [span.stop - span.start for span in (part_of_rank(rows, one) for one in range(world_size()))]
    local = local_slice(rows)
    sent = part.reshape(blocks, local.stop - local.start, *part.shape[1:]).contiguous()
    if len(set(sizes)) > 1:
        padded = part.new_empty((blocks, max(sizes), *part.shape[1:]))
        padded[:, : sent.shape[1]] = sent
        sent = padded
    received = sent.new_empty((len(sizes), *sent.shape))
    # As bytes: gloo does not know every type of numbers.
    distributed.all_gather_into_tensor(received.flatten().view(torch.uint8), sent.flatten().view(torch.uint8))
    if len(set(sizes)) == 1:
        return received.transpose(0, 1).flatten(0, 2)
    return torch.cat([one[:, :size] for one, size in zip(received, sizes, strict=True)], 1).flatten(0, 1)


def average_gradients(method: Method) -> Callable[[Batch], dict[str, Tensor]]:
    """A function that computes a method's loss, and lets its backward pass average gradients over ranks.

    DistributedDataParallel searches every step's graph for parameters that have no gradient: without that it would
    put the gradients into other buckets after the first step, and a resumed run would not add them in the same order.
    """
    with warnings.catch_warnings(category=FutureWarning, action="ignore"):  # torch 2.15 renames broadcast_buffers
        return DistributedDataParallel(
            method, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
        )


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
    return all_reduce_sum(torch.tensor(number, dtype=torch.float64, device=float64_device(device))).item()


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
    """Replace every BatchNorm by one over all ranks, with the same parameters and buffers.

    On GPUs it is torch's own, which has fused kernels and works on GPUs only.
    """
    on_gpus = distributed.is_initialized() and distributed.get_backend() == "nccl"
    synchronized = nn.SyncBatchNorm if on_gpus else SyncBatchNorm
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            replace_batch_norms(child)
            continue
        sync = synchronized(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        sync.weight, sync.bias = child.weight, child.bias
        sync.running_mean, sync.running_var = child.running_mean, child.running_var
        sync.num_batches_tracked = child.num_batches_tracked
        sync.train(child.training)
        module.register_module(name, sync)
