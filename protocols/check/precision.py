"""Which precisions a device computes matrix products in, how exactly, and how fast."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Literal, get_args

import torch

from protocols.speed.measure import synchronize
from protocols.system.device import Precision, cpu_flags, disable_tf32, float32_operations, has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR = {"float32": 1e-5, "tf32": 2e-3, "bfloat16": 1e-2, "float16": 2e-3}
"""Largest relative error of a product in each precision."""

PRECISIONS = tuple(ERROR)
SIDE = {"cpu": 1024}
GPU_SIDE = 4096
REPETITIONS = 5


def training_precisions(device: torch.device) -> list[Precision]:
    """Precisions that methods are checked in on a device: those in which pretraining may be fast there."""
    return [name for name in get_args(Precision) if has_precision(device, name)]


def check_products(device: torch.device, precision: str) -> tuple[Literal["ok", "wrong", "no"], str]:
    """A matrix product in a precision against one in float64 on the CPU: the relative error, and the speed."""
    if not has_precision(device, precision):
        return "no", "no instructions for it"
    generator = torch.Generator().manual_seed(0)
    small = [torch.randn(256, 256, generator=generator) for _ in range(2)]
    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    with tf32_allowed() if precision == "tf32" else contextlib.nullcontext():
        a, b = (matrix.to(device, dtype) for matrix in small)
        exact = small[0].double() @ small[1].double()
        error = float(((a @ b).cpu().double() - exact).norm() / exact.norm())
        side = SIDE.get(device.type, GPU_SIDE)
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        times = []
        for _ in range(REPETITIONS):
            start = time.perf_counter()
            _ = a @ b
            synchronize(device)
            times.append(time.perf_counter() - start)
    speed = 2 * side**3 / statistics.median(times) / 1e9
    right = error <= ERROR[precision]
    return (
        "ok" if right else "wrong",
        f"relative error {error:.0e}, at most {ERROR[precision]:.0e}; {speed:,.0f} Gflop/s",
    )


def has_precision(device: torch.device, precision: str) -> bool:
    """Whether a device has instructions for matrix products in a precision."""
    if precision == "float32":
        return True
    if precision == "bfloat16":
        return has_bfloat16(device.type)
    if device.type == "cuda":
        return precision == "float16" or torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "float16":
        return device.type == "mps" or bool({"avx512_fp16", "amx_fp16", "asimdhp"} & cpu_flags())
    return False


@contextlib.contextmanager
def tf32_allowed() -> Iterator[None]:
    """Let products in float32 be rounded to TF32, which bench turns off."""
    torch.set_float32_matmul_precision("high")
    for operations in float32_operations():
        operations.fp32_precision = "tf32"
    try:
        yield
    finally:
        disable_tf32()
