"""What tests of several floors share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side, each on one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PACKED = Path(__file__).parents[2] / "shared" / "data" / "expand.py"


@pytest.fixture(scope="session")
def real_data(request):
    """A folder with CIFAR-10, CIFAR-100 and 20 classes of Tiny ImageNet; to be read, never written to.

    The environment variable ``BENCH_DATA`` names it; else it is expanded, once, from packed data beside the checkout.
    """
    if given := os.environ.get("BENCH_DATA"):
        return Path(given)
    if not PACKED.is_file():
        pytest.skip("no real data: BENCH_DATA is not set, and no packed data lie beside the checkout")
    folder = Path(request.config.cache.mkdir("data"))
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, PACKED, folder], check=True, capture_output=True)
        (folder / "complete").touch()
    return folder
