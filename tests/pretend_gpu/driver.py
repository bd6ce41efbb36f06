"""Compiles the pretended driver, and starts Python with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent


def why_not() -> str:
    """Why this machine cannot pretend to have a GPU; empty if it can."""
    import torch

    if sys.platform != "linux":
        return "the driver is preloaded, which is done so on Linux only"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    if headers() is None:
        return "CUDA's headers, which come with Triton, are not installed"
    if shutil.which("cc") is None:
        return "there is no C compiler"
    return ""


def headers() -> Path | None:
    """The folder of CUDA's headers in Triton's package."""
    triton = importlib.util.find_spec("triton")
    if triton is None or not triton.submodule_search_locations:
        return None
    folder = Path(triton.submodule_search_locations[0], "backends", "nvidia", "include")
    return folder if (folder / "driver_types.h").exists() else None


def compile_driver(folder: Path) -> Mapping[str, str]:
    """Compile the driver into a folder.

    Returns:
        The variables of an environment in which torch finds the pretended GPU, and Triton interprets its kernels.
    """
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-w", "-O1", f"-I{headers()}", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*command, "-o", str(library), str(HERE / "driver.c")], check=True)
    paths = {"LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(folder)}
    return {**os.environ, **paths, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"}
