"""BatchNorm's running statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def update_running_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int | Tensor) -> None:
    """Update the running statistics of a BatchNorm layer, if it has any, with torch's rule.

    Args:
        norm: the layer.
        mean: (channels,) of the batch.
        variance: (channels,) of the batch, biased; the running variance is unbiased.
        count: number of values per channel.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, weight)
    norm.running_var.lerp_(variance * (count / (count - 1)), weight)
