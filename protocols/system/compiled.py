"""torch.compile for functions of tensors on a CPU, where it fuses several operations into one loop over memory.

PyTorch reads and writes its operands once per operation, which is most of the time of a step on small images. Compiling
needs a C++ compiler and takes some seconds the first time on a machine, and about one in every later process: torch
caches the result.
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
    """Decorator: compile a function of tensors at its first call, for all sizes."""

    @functools.wraps(function)
    def call(*tensors: Any) -> Any:
        return compile_function(function)(*tensors)

    return call  # type: ignore[return-value]


@functools.cache
def compile_function(function: F) -> F:
    """Compile a function with torch.compile; cached."""
    from torch._inductor import config

    config.compile_threads = 1  # no pool of processes for a few functions
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns that there is no CUDA
    return torch.compile(function, dynamic=True)  # type: ignore[return-value]


@functools.cache
def compilation_works() -> bool:
    """Whether this machine can compile; logs a warning if it cannot."""
    try:
        compile_function(torch.square)(torch.zeros(64))
    except (RuntimeError, OSError, KeyError) as error:  # the last two without a folder for its cache, or a user's name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("training is much slower without a C++ compiler that torch.compile can use (%s)", reason)
        return False
    return True
