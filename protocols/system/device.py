"""The machine: device, training precision, memory, and their description in a record."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from results.errors import RequestError, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

Precision = Literal["float32", "bfloat16", "float16"]


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
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise RequestError(f"no device {name!r} here", hint="try --device auto or --device cpu") from error
    if device.type == "meta":
        raise RequestError("meta is no device that computes", hint="try --device auto or --device cpu")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """The precision that the protocol asks for.

    ``auto`` is bfloat16 where the hardware computes it faster than float32, and float16 on GPUs without it, such as T4
    and V100.
    """
    if wanted == "auto":
        if has_fast_bfloat16(device.type):
            return "bfloat16"
        return "float16" if device.type == "cuda" else "float32"
    return next(precision for precision in get_args(Precision) if precision == wanted)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device, ``cpu`` or ``cuda``, has instructions for matrix products in bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def has_fast_bfloat16(device: str) -> bool:
    """Whether its products in bfloat16 are faster than in float32.

    AVX-512's are on AMD. On Intel they take twice as long (83 against 166 Gflop/s on a Xeon of the fifth generation):
    only those of AMX are faster, which a virtual machine may lack.
    """
    if device != "cpu":
        return has_bfloat16(device)
    flags = cpu_flags()
    return bool({"amx_bf16", "bf16"} & flags) or ("avx512_bf16" in flags and cpu_value("vendor_id") != "GenuineIntel")


def views_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type of views: on CUDA the one that the network's first layer would round them to; else float32."""
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return dtypes[precision] if device.type == "cuda" else torch.float32


WITHOUT_FLOAT64 = frozenset({"mps"})
"""Kinds of devices that have no float64."""


def float64_device(device: torch.device) -> torch.device:
    """The device, or the CPU for one that has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def to_float64(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float64, on its :func:`float64_device`."""
    return tensor.to(float64_device(tensor.device)).double()


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU; empty where the system does not list them."""
    return {word for line in cpu_lines("flags", "Features") for word in line.split()}


def cpu_value(name: str) -> str:
    """What the system says of the CPU under a name, such as ``vendor_id``; empty where it does not say."""
    return next((line.partition(":")[2].strip() for line in cpu_lines(name)), "")


def cpu_lines(*starts: str) -> list[str]:
    """What the system says of the CPU in lines that begin so; none where it says nothing."""
    with contextlib.suppress(OSError):
        return [
            line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith(starts)
        ]
    return []


def restore_torch() -> list[str]:
    """Undo what a plugin changed of torch for the whole process, with which other methods would get other numbers.

    Returns:
        What that was.
    """
    changed = []
    if torch.get_default_dtype() is not torch.float32:
        torch.set_default_dtype(torch.float32)
        changed.append("the default type")
    if torch.get_default_device().type != "cpu":
        torch.set_default_device(None)
        changed.append("the default device")
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        changed.append("whether there are gradients")
    return changed


def prepare_process(threads: int | None = None) -> None:
    """Set up this process for training: threads, full float32 precision, an allocator that keeps memory for reuse.

    Training frees and allocates the same large blocks at every step. By default glibc returns them to the kernel each
    time, and the page faults of allocating them again take a third of a small backbone's speed.
    """
    if threads:
        torch.set_num_threads(threads)
    disable_tf32()
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, -1)  # never; 2 GiB, the most an int holds, is less than some steps take


def disable_tf32() -> None:
    """Compute float32 matrix products and convolutions with all bits of float32, on every device.

    By default torch rounds the operands of float32 convolutions on CUDA to TF32, which keeps 10 of 23 bits of the
    mantissa, and those of matrix products not. Here neither is rounded: evaluations and float32 pretraining are what
    they say, the same as on a CPU to rounding, and the error bound of the nearest-neighbour search holds. Pretraining
    in bfloat16 loses nothing by it: its convolutions and layers are not computed in float32.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for operations in float32_operations():  # where these were set before, the two above do not reach them
        operations.fp32_precision = "ieee"


@contextlib.contextmanager
def fast_float32_matmul(device: torch.device) -> Iterator[None]:
    """Let torch multiply float32 matrices on AMD's CPUs by oneDNN, more than twice as fast as MKL there.

    torch does so where it may round the operands to bfloat16. oneDNN rounds them on other CPUs' matrix units only, and
    CUDA to TF32: there nothing changes, so that every product has all bits of float32 on every device.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cpu" and cpu_value("vendor_id") == "AuthenticAMD":
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def tf32_enabled() -> bool:
    """Whether float32 matrix products or convolutions on CUDA may be rounded to TF32."""
    if operations := float32_operations():
        return any(some.fp32_precision == "tf32" for some in operations)
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def float32_operations() -> list[Any]:
    """The settings of CUDA's operations by kind, of torch 2.9 and later; empty for earlier versions."""
    if not hasattr(torch.backends.cudnn, "conv"):
        return []
    return [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]


@contextlib.contextmanager
def deterministic_algorithms(*, required: bool) -> Iterator[None]:
    """Meanwhile, let torch refuse kernels whose results depend on the order in which threads happen to run.

    It does nothing unless required. cuBLAS reads its variable before the first product of this process.
    """
    if not required:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a device or of the host could not be allocated, here or in another rank that tells of it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "outofmemoryerror", "can't allocate memory", "cublas_status_alloc_failed")
    return any(word in describe(error).lower() for word in words)


def is_device_fault(error: BaseException) -> bool:
    """Whether CUDA has failed in a way after which a process can do nothing more on its GPU."""
    accelerator_error = getattr(torch, "AcceleratorError", None)
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    return any(words in describe(error) for words in ("CUDA error:", "CUBLAS_STATUS_", "CUDNN_STATUS_"))


class EnergyMeter:
    """The energy that GPUs have taken since construction, as NVML tells it; needs the package ``nvidia-ml-py``.

    Args:
        device: the first GPU; on anything else there is nothing to read.
        count: of GPUs, from the first on.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        self._nvml, self._handles, self._start = None, list[Any](), 0.0
        if device.type != "cuda" or not installed_version("nvidia-ml-py"):
            return
        import pynvml

        first = device.index or 0
        try:
            pynvml.nvmlInit()
            uuids = [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(first, first + count)]
            self._handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
            self._nvml = pynvml
            self._start = self._total()
        except (pynvml.NVMLError, RuntimeError, AssertionError, AttributeError):
            self._nvml = None  # an old GPU, a part of one, a driver that does not tell, or GPUs of several nodes

    def _total(self) -> float:
        """Joules since the driver was loaded."""
        assert self._nvml is not None
        return sum(float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in self._handles) / 1000

    def read(self) -> float | None:
        """Joules; None where they are not told."""
        return None if self._nvml is None else self._total() - self._start


class PeakMemory:
    """Peak memory since construction: of the device's allocator on a GPU, else of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> int:
        """Peak memory in bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_resident_memory()


def resident_memory() -> int:
    """Resident memory of this process, in bytes."""
    return memory_status("VmRSS")


def peak_resident_memory() -> int:
    """Peak resident memory of this process since the kernel's counter was last reset, in bytes."""
    return memory_status("VmHWM")


def memory_status(name: str) -> int:
    """An entry of ``/proc/self/status`` in bytes; the peak memory where there is no such file."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def processor() -> str:
    """Model of this machine's CPU."""
    return cpu_value("model name") or platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Model of the device, with the number of cores in use for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Machine and software of a record."""
    packages = ("numpy", "torch", "torchvision", "timm", "scikit-learn", "pillow")
    return {
        "device": device_name(device),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in packages if (version := installed_version(name))},
    }


def installed_version(name: str) -> str:
    """Version of an installed package; empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
