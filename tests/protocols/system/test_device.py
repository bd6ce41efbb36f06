"""TF32 is off in every process that trains or evaluates, whatever switched it on before, and records say so."""

import pytest
import torch

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
