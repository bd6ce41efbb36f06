"""BatchNorm's transformation, ReLU and the sum of two rows in one pass over memory.

A small backbone spends its time reading and writing maps, not computing. PyTorch goes over them once an operation,
these functions once for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.system.compiled import compiled

if TYPE_CHECKING:
    from torch import Tensor


@compiled
def activated(y: Tensor, affine: Tensor) -> Tensor:
    """ReLU of scale · y + shift, summed over rows.

    Args:
        y: (m, rows, k).
        affine: (2, k), scale and shift.

    Returns:
        (m, k).
    """
    scale, shift = affine.unbind()
    total = sum((row.float() * scale + shift).relu() for row in y.unbind(1))
    assert isinstance(total, torch.Tensor)
    return total.to(y.dtype)


@compiled
def slopes(y: Tensor, grad: Tensor, affine: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over an image of what comes back through the ReLU, alone and times y - mean.

    Args:
        y: (n, m, rows, k) what :func:`activated` was given, by image.
        grad: (n, m, k) for what it returned.
        affine: (2, k) as there.
        mean: (k,) of y.

    Returns:
        Twice (n, k).
    """
    scale, shift = affine.unbind()
    y = y.float()
    passed = torch.where(y * scale + shift > 0, grad.float()[:, :, None], 0.0)
    return passed.sum((1, 2)), (passed * (y - mean)).sum((1, 2))


@compiled
def gradient(y: Tensor, grad: Tensor, affine: Tensor, line: Tensor) -> Tensor:
    """For y: scale times what comes back through the ReLU, and slope · y + constant.

    Args:
        y: (m, rows, k) as in :func:`activated`; likewise ``affine``.
        grad: (m, k) for what it returned.
        affine: (2, k).
        line: (2, k), slope and constant.

    Returns:
        (m, rows, k).
    """
    (scale, shift), (slope, constant) = affine.unbind(), line.unbind()
    wide = y.float()
    passed = torch.where(wide * scale + shift > 0, grad.float()[:, None], 0.0)
    return (passed * scale + wide * slope + constant).to(y.dtype)
