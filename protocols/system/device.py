"""The machine a run meets: its device, what precision pays on it, its memory, and how to name all that in a record."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from results.errors import RequestError

Precision = Literal["float32", "bfloat16"]


def choose_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one, else the CPU; anything else is a torch device.

    Raises:
        RequestError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RequestError(f"no device {name!r} here", hint="try --device auto or --device cpu") from error
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """What the protocol asks for; for ``auto`` bfloat16 where a probe finds it faster."""
    if wanted == "auto":
        return "bfloat16" if bfloat16_pays(device.type) else "float32"
    return "bfloat16" if wanted == "bfloat16" else "float32"


@functools.cache
def bfloat16_pays(device: str) -> bool:
    """Whether to train in bfloat16 on a kind of device.

    On a GPU the hardware decides. A CPU must have the instructions, and must not lose by them: a probe times
    convolutions in both precisions in turn. It takes a clear loss to say no, lest a busy moment decide what numbers a
    run yields.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu" or not {"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags():
        return False
    layer = torch.nn.Conv2d(32, 64, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.rand(64, 32, 16, 16).contiguous(memory_format=torch.channels_last)
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(10):
        for enabled, seconds in taken.items():
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                layer(images).sum().backward()
            seconds.append(time.perf_counter() - start)
    return min(taken[True]) < 1.2 * min(taken[False])


def cpu_flags() -> set[str]:
    """What the CPU says it can do; nothing where the system does not tell."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return set()


def prepare_process(threads: int | None = None) -> None:
    """Set up this process for training: its threads, and an allocator that keeps the memory it has.

    Training frees and asks for the same large blocks at every step. By default glibc hands them back to the kernel each
    time and gets them anew, page fault by page fault, at a third of a small backbone's speed.
    """
    if threads:
        torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


class PeakMemory:
    """The most memory used since it was made, in bytes: the device's allocator on a GPU, else the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_resident()


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return status_of_memory("VmRSS")


def peak_resident() -> int:
    """Peak resident memory of this process since the kernel's mark was last reset, in bytes."""
    return status_of_memory("VmHWM")


def status_of_memory(name: str) -> int:
    """An entry of the kernel's account of this process, in bytes; the peak where it keeps none."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def processor() -> str:
    """Model of this machine's CPU."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(": ")[2]
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Model of the device, with the number of cores in use for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def describe(device: torch.device) -> dict[str, Any]:
    """What a record says of the machine and its software."""
    packages = ("numpy", "torch", "torchvision", "timm", "scikit-learn", "pillow")
    return {
        "device": device_name(device),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in packages if (version := installed(name))},
    }


def installed(name: str) -> str:
    """Version of an installed package, or nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
