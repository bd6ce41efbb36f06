"""BatchNorm's transformation, ReLU and the sum of two rows in one pass over memory, compiled on a CPU.

A small backbone spends its time reading and writing maps, not computing. PyTorch goes over them once an operation,
these functions once for all of them. torch.compile makes them, which takes a C++ compiler and some fifteen seconds the
first time on a machine, and five in every process after that: it keeps what it makes.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

F = TypeVar("F", bound="Callable[..., Any]")

log = logging.getLogger(__name__)


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


class Kernels:
    """The three functions, compiled.

    Raises:
        RuntimeError: by their first call, if this machine cannot compile.
    """

    def __init__(self) -> None:
        from torch._inductor import config

        config.compile_threads = 1  # no pool of processes for three functions
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA
        self.activated = compiled(activated)
        self.slopes = compiled(slopes)
        self.gradient = compiled(gradient)


def compiled(function: F) -> F:
    """One compilation for all sizes."""
    return torch.compile(function, dynamic=True)  # type: ignore[return-value]


@functools.cache
def kernels() -> Kernels | None:
    """The compiled functions; None, with a warning, where they cannot be made."""
    made = Kernels()
    try:
        made.activated(torch.zeros(4, 2, 32), torch.zeros(2, 32))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        log.warning("training is slower for want of a C++ compiler that torch.compile can use (%s)", reason)
        return None
    return made
