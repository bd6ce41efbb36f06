"""Kernels for small backbones: BatchNorm's affine map, ReLU and the sum of rows in one pass over memory.

A small backbone spends its time reading and writing feature maps, not computing. PyTorch reads and writes them once per
operation, these functions once for all operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.system.compiled import compiled

if TYPE_CHECKING:
    from torch import Tensor


@compiled
def affine_relu(y: Tensor, affine: Tensor) -> Tensor:
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
def affine_relu_gradient_sums(y: Tensor, grad: Tensor, affine: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums, over the rows of an image, of the gradient behind the ReLU, and of this gradient times y - mean.

    Args:
        y: (n, m, rows, k), the input of :func:`affine_relu`, by image.
        grad: (n, m, k), the gradient of its output.
        affine: (2, k), scale and shift.
        mean: (k,) of y.

    Returns:
        Both sums, (n, k) each.
    """
    scale, shift = affine.unbind()
    y = y.float()
    passed = torch.where(y * scale + shift > 0, grad.float()[:, :, None], 0.0)
    return passed.sum((1, 2)), (passed * (y - mean)).sum((1, 2))


@compiled
def affine_relu_backward(y: Tensor, grad: Tensor, affine: Tensor, statistics_terms: Tensor) -> Tensor:
    """The gradient for y: scale times the gradient behind the ReLU, plus slope · y + constant.

    Args:
        y: (m, rows, k), the input of :func:`affine_relu`.
        grad: (m, k), the gradient of its output.
        affine: (2, k), scale and shift.
        statistics_terms: (2, k), slope and constant: the gradient through BatchNorm's mean and variance.

    Returns:
        (m, rows, k).
    """
    (scale, shift), (slope, constant) = affine.unbind(), statistics_terms.unbind()
    y_float = y.float()
    passed = torch.where(y_float * scale + shift > 0, grad.float()[:, None], 0.0)
    return (passed * scale + y_float * slope + constant).to(y.dtype)
