"""Precision, faults and energy of devices.

TF32 is off in every process that trains or evaluates, whatever switched it on before, and records say so.
"""

import sys
import types

import pytest
import torch

from protocols.system import device
from protocols.system.device import disable_tf32, prepare_process, tf32_enabled
from protocols.system.provenance import provenance

CUDA, CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn


def allow_in_older_torch() -> None:
    CUDA.allow_tf32 = CUDNN.allow_tf32 = True


def allow_by_kind() -> None:
    CUDA.fp32_precision = CUDNN.conv.fp32_precision = "tf32"


def allow_for_what_has_no_setting() -> None:
    CUDA.fp32_precision = CUDNN.conv.fp32_precision = CUDNN.rnn.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"


WAYS = [allow_in_older_torch, lambda: torch.set_float32_matmul_precision("high")]
if hasattr(CUDNN, "conv"):  # torch 2.9
    WAYS += [allow_by_kind, allow_for_what_has_no_setting]


@pytest.fixture(autouse=True)
def off():
    """As every command leaves it."""
    yield
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "none"
    disable_tf32()


@pytest.mark.parametrize("allow", WAYS)
def test_tf32_is_off_whatever_allowed_it(allow):
    allow()
    assert tf32_enabled()
    prepare_process()
    assert not tf32_enabled()
    assert not CUDA.allow_tf32
    assert not CUDNN.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("allowed", [False, True])
def test_provenance_says_whether_tf32_is_on(allowed):
    prepare_process()
    if allowed:
        allow_in_older_torch()
    assert provenance(torch.device("cpu"))["tf32"] is allowed


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("rank 1: OutOfMemoryError: CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]
FAULTS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDNN_STATUS_EXECUTION_FAILED"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_ran_out_is_recognised(error):
    assert device.is_out_of_memory(error)


@pytest.mark.parametrize("error", FAULTS)
def test_a_gpu_that_failed_is_recognised(error):
    assert device.is_device_fault(error)
    assert not device.is_out_of_memory(error)


def test_other_errors_are_neither():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not device.is_out_of_memory(error)
    assert not device.is_device_fault(error)


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert device.is_out_of_memory(raised.value)


@pytest.fixture
def nvml(monkeypatch):
    """NVML of two GPUs that have taken 100 and 200 joules so far; returns the counters, in millijoules."""
    energy = {"GPU-a": 100_000, "GPU-b": 200_000}
    module = types.SimpleNamespace(
        NVMLError=type("NVMLError", (Exception,), {}),
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(device, "installed_version", lambda name: "13" if name == "nvidia-ml-py" else "")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: types.SimpleNamespace(uuid=["a", "b"][number])
    )
    return energy


def test_energy_is_what_the_gpus_took_meanwhile(nvml):
    meter = device.EnergyMeter(torch.device("cuda", 0), 2)
    nvml["GPU-a"] += 3_000
    nvml["GPU-b"] += 4_500
    assert meter.read() == pytest.approx(7.5)


def test_energy_is_unknown_where_it_is_not_told(nvml, monkeypatch):
    assert device.EnergyMeter(torch.device("cpu"), 1).read() is None

    def refuse(handle):
        raise sys.modules["pynvml"].NVMLError

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert device.EnergyMeter(torch.device("cuda", 0), 1).read() is None
    monkeypatch.setattr(device, "installed_version", lambda name: "")
    assert device.EnergyMeter(torch.device("cuda", 0), 1).read() is None


@pytest.mark.parametrize(
    ("maker", "flags", "precision"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", "bfloat16"),
        ("GenuineIntel", "avx512f avx512_bf16", "float32"),  # its bfloat16 takes twice as long without AMX
        ("GenuineIntel", "avx512f avx512_bf16 amx_tile amx_bf16", "bfloat16"),
        ("AuthenticAMD", "avx2", "float32"),
    ],
)
def test_bfloat16_is_chosen_where_a_cpu_computes_it_faster(monkeypatch, maker, flags, precision):
    lines = {"vendor_id": [f"vendor_id\t: {maker}"], "flags": [f"flags\t\t: fpu {flags}"]}
    monkeypatch.setattr(
        device, "cpu_lines", lambda *starts: [line for start in starts for line in lines.get(start, [])]
    )
    assert device.choose_precision("auto", torch.device("cpu")) == precision


@pytest.mark.parametrize(
    ("maker", "kind", "inside"),
    [("AuthenticAMD", "cpu", "medium"), ("GenuineIntel", "cpu", "highest"), ("AuthenticAMD", "cuda", "highest")],
)
def test_float32_products_may_only_be_rounded_where_the_hardware_does_not(monkeypatch, maker, kind, inside):
    """A GPU would round to TF32 and Intel's matrix units to bfloat16, though the record says float32."""
    monkeypatch.setattr(device, "cpu_value", lambda name: maker)
    with device.fast_float32_matmul(torch.device(kind)):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == "highest"
