"""Functions that torch.compile makes into one loop over memory, on a CPU.

PyTorch goes over its operands once an operation; on small images that is most of what a step takes. A compiled function
takes a C++ compiler, some seconds the first time on a machine, and about one in every process after that: torch keeps
what it makes.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

log = logging.getLogger(__name__)


def compiled(function: F) -> F:
    """A function of tensors, compiled for all sizes once it is called."""

    @functools.wraps(function)
    def call(*tensors: Any) -> Any:
        return made(function)(*tensors)

    return call  # type: ignore[return-value]


@functools.cache
def made(function: F) -> F:
    """A function, as torch compiles it."""
    from torch._inductor import config

    config.compile_threads = 1  # no pool of processes for a few functions
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA
    return torch.compile(function, dynamic=True)  # type: ignore[return-value]


@functools.cache
def works() -> bool:
    """Whether this machine can compile; a warning says so where it cannot."""
    try:
        made(torch.square)(torch.zeros(64))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        log.warning("training is much slower for want of a C++ compiler that torch.compile can use (%s)", reason)
        return False
    return True
