"""What tests of several packages share."""

import os
import sys
from pathlib import Path

import pytest

from tests.tools import forked

if WORKER := os.environ.get("PYTEST_XDIST_WORKER", ""):  # tests run side by side, each on a core of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if hasattr(os, "sched_setaffinity"):
        CORES = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {CORES[int(WORKER.removeprefix("gw")) % len(CORES)]})


@pytest.fixture(scope="session", autouse=True)
def environment():
    """The variables that set defaults of the command line, taken away so that tests see its own; as they were."""
    return {name: os.environ.pop(name, "") for name in ("BENCH_DATA", "BENCH_RUNS")}


@pytest.fixture(scope="session")
def real_data(environment):
    """A folder with CIFAR-10, CIFAR-100 and 20 classes of Tiny ImageNet, named by the variable ``BENCH_DATA``.

    To be read, never written to.
    """
    if not environment["BENCH_DATA"]:
        pytest.skip("no real images: BENCH_DATA is not set to the folder of the data sets")
    return Path(environment["BENCH_DATA"]).resolve()


@pytest.fixture(autouse=True)
def warm_processes(request, monkeypatch):
    """Let workers and ranks be forks of a process that has imported what they need: see ``forked``.

    Those of tests that are marked ``new_interpreters`` are what they are for users.
    """
    execution = sys.modules.get("protocols.spec.execution")
    if execution and not request.node.get_closest_marker("new_interpreters"):
        monkeypatch.setattr(execution, "processes", forked.processes)


@pytest.fixture(autouse=True)
def registries():
    """Forget the plugins that a test registers, so that another test may use their names."""
    from protocols.spec.plugins import REGISTRIES

    files = {registry: dict(registry._files) for registry in REGISTRIES.values()}
    yield
    for registry, known in files.items():
        for name in registry._files.keys() - known.keys():
            registry._loaded.pop(name, None)
        registry._files = known
