"""torch.compile for functions of tensors on a CPU, where it fuses several operations into one loop over memory.

PyTorch reads and writes its operands once per operation, which is most of the time of a step on small images. Compiling
needs a C++ compiler and takes some seconds the first time on a machine, and about one in every later process: torch
caches the result, in a folder whose code it executes.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import logging
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

log = logging.getLogger(__name__)

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Variable of torch that names the folder of what is compiled."""

NEW_CACHE = "bench-compiled-"
"""The beginning of the name of a folder that is removed with the process."""


def compiled(function: F) -> F:
    """Decorator: compile a function of tensors at its first call, for all sizes.

    Where what was compiled before is damaged, it is compiled again, for this process alone.
    """

    @functools.wraps(function)
    def call(*tensors: Any) -> Any:
        try:
            return compile_function(function)(*tensors)
        except RuntimeError as error:
            from torch._dynamo.exc import BackendCompilerFailed

            folder = Path(os.environ.get(CACHE, ""))
            if not isinstance(error, BackendCompilerFailed) or folder.name.startswith(NEW_CACHE):
                raise
            os.environ[CACHE] = new_cache()
            result = compile_function(function)(*tensors)
            log.warning(
                "%s is compiled again; if this is said again, delete %s (%s)",
                function.__name__,
                folder,
                reason_of(error),
            )
            return result

    return call  # type: ignore[return-value]


@functools.cache
def compile_function(function: F) -> F:
    """Compile a function with torch.compile; cached."""
    choose_cache()
    from torch._inductor import config

    config.compile_threads = 1  # no pool of processes for a few functions
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns that there is no CUDA
    return torch.compile(function, dynamic=True)  # type: ignore[return-value]


@functools.cache
def choose_cache() -> None:
    """Let torch cache in a new folder, for this process alone, where its usual one cannot be written or trusted.

    Raises:
        OSError: there is no folder for temporary files.
    """
    given = os.environ.get(CACHE)
    folder = Path(given or usual_cache())
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        problem = "" if given else why_not_trusted(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"cannot write to {folder}: {error.strerror}"
    if problem:
        log.warning("%s; what is compiled is kept for this process only", problem)
    os.environ[CACHE] = new_cache() if problem else str(folder)


def new_cache() -> str:
    """A new folder that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix=NEW_CACHE)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def usual_cache() -> Path:
    """The folder that torch caches in, if none is given."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in a container
        user = f"uid_{os.getuid()}"
    name = re.sub(r'[\\/:*?"<>|]', "_", user)
    return Path(tempfile.gettempdir()) / f"torchinductor_{name}"


def why_not_trusted(folder: Path) -> str:
    """Why code in a folder may come from another user; empty if it can't."""
    if any(status.st_uid != os.getuid() for status in (folder.lstat(), folder.stat())):
        return f"{folder} belongs to another user"
    return f"every user can write to {folder}" if folder.stat().st_mode & stat.S_IWOTH else ""


@functools.cache
def compilation_works() -> bool:
    """Whether this machine can compile; logs a warning if it cannot."""
    try:
        compiled(torch.square)(torch.zeros(64))
    except (RuntimeError, OSError, KeyError) as error:  # the last two without a folder for its cache, or a user's name
        log.warning("training is much slower without a C++ compiler that torch.compile can use (%s)", reason_of(error))
        return False
    return True


def reason_of(error: Exception) -> str:
    """The first line of an exception's message that is more than a heading; its type, if there is none."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith(":")]
    return lines[0].strip() if lines else type(error).__name__
