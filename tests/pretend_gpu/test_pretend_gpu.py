"""A step of every method on a pretended GPU: no devices are mixed, and what it costs stays within limits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from methods import METHODS
from tests.pretend_gpu.driver import compile_driver, why_not

METHODS_TRAINED = [name for name in METHODS.names() if name != "random"]

BLOCKING_COPIES = {"dino": 12, "relational": 7}
"""Copies of a step that the host waits for; 6 for a method that is not named."""


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """Runs Python with the pretended driver; returns what it printed last, from JSON."""
    if reason := why_not():
        pytest.skip(reason)
    environment = compile_driver(tmp_path_factory.mktemp("driver"))

    def run(*arguments: str):
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def steps(python):
    """The counts of a step of each method."""
    requests = [{"method": method} for method in METHODS_TRAINED]
    return {step["method"]: step for step in python("-m", "tests.pretend_gpu.steps", json.dumps(requests))}


def events(step, *kinds):
    return {(kind, line): times for _, kind, _, line, times in step["events"] if kind in kinds}


@pytest.mark.parametrize("method", METHODS_TRAINED)
def test_a_step_does_not_wait_for_the_gpu(steps, method):
    assert events(steps[method], "sync", "copy to host") == {}
    assert sum(events(steps[method], "blocking copy").values()) <= BLOCKING_COPIES.get(method, 6)


NOTICED = {
    "x[0].item()": "sync",
    "x.nonzero()": "sync",
    "x[x > 0]": "sync",
    "x.cpu()": "copy to host",
    "torch.tensor([1.0, 2.0], device='cuda')": "blocking copy",
    "torch.ones(2).to('cuda')": "blocking copy",
    "x.copy_(torch.ones(6))": "blocking copy",
    "x[torch.zeros(3, dtype=torch.long)]": "blocking copy",
    "torch.ones(2).to('cuda', non_blocking=True)": "unpinned copy",
    "x + torch.ones(1)": "MixedDevices",
    "torch.cat([x, torch.ones(1)])": "MixedDevices",
    "x + 1, x * torch.tensor(2.0), x.clone()": "",
    "torch.ones(2).pin_memory().to('cuda', non_blocking=True)": "",
    "torch.empty(4, pin_memory=True)[1:].to('cuda', non_blocking=True)": "",
}


LAUNCHED = {
    "x.view(2, 3).T[1:]": 0,
    "x.relu().neg()": 2,
    "torch._foreach_mul_(many, 2.0)": 2,
    "torch._foreach_add(many, many)": 5,
}
"""Kernels of each line; a launch takes so many of 200 tensors: 110 in place, 48 where three lists take part."""


def test_the_pretended_gpu_notices_what_a_gpu_waits_for_and_launches(python):
    """Each line by itself, so that a count of zero above says something."""
    code = f"""
import json, torch
from tests.pretend_gpu.device import Counts, MixedDevices, PretendedGPU
results = []
for line in {[*NOTICED, *LAUNCHED]!r}:
    with PretendedGPU() as gpu:
        x = torch.zeros(6, device="cuda")
        many = [torch.zeros(2, device="cuda") for _ in range(200)]
        gpu.counts = Counts()
        try:
            eval(line)
            kinds = [event.kind for _, event in gpu.counts.events if event.kind != "copy"]
        except MixedDevices:
            kinds = ["MixedDevices"]
        results.append([kinds, gpu.counts.kernels[""], gpu.counts.bytes[""]])
print(json.dumps(results))
"""
    results = dict(zip([*NOTICED, *LAUNCHED], python("-c", code), strict=True))
    for line, kind in NOTICED.items():
        kinds = results[line][0]
        assert (kind in kinds) if kind else (kinds == []), line
    assert {line: results[line][1] for line in LAUNCHED} == LAUNCHED
    assert results["x.relu().neg()"][2] == 2 * (6 + 6) * 4  # bytes: each kernel reads 6 numbers and writes 6
