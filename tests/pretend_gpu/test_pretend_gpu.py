"""A step of every method on a pretended GPU: no devices are mixed, and what it costs stays within limits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from methods import METHODS
from results.names import UNTRAINED
from tests.pretend_gpu.driver import compile_driver, why_not

METHODS_TRAINED = [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]


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


COMPARED = ("simclr", "dino", "graph_nnclr", "relational", "supervised")
"""Methods of two views, of small crops, of images of their own choice, of many views, and with labels."""

INTERPRETED = ("simclr", "dino")
"""Those whose views are made by the kernels, computed by Triton's interpreter: few, since it is slow."""

FLOAT32 = {"settings": ["pretrain.precision=float32"]}
REQUESTS = {
    **{method: {} for method in METHODS_TRAINED},
    **{f"{method}, images on the host": {"host_images": True, "views": "operations", **FLOAT32} for method in COMPARED},
    "simclr, float16": {"settings": ["pretrain.precision=float16"]},
    **{f"{method}, float32": {"views": "operations", **FLOAT32} for method in COMPARED},
    **{f"{method}, interpreted": {"views": "interpreted", **FLOAT32} for method in INTERPRETED},
    **{f"{method}, CPU": {"device": "cpu", **FLOAT32} for method in COMPARED},
}


@pytest.fixture(scope="session")
def steps(python):
    """The counts of a step of each method, and what it is compared with."""
    requests = [{"method": name.partition(",")[0], **options} for name, options in REQUESTS.items()]
    return dict(zip(REQUESTS, python("-m", "tests.pretend_gpu.steps", json.dumps(requests)), strict=True))


def events(step, *kinds):
    return {(kind, line): times for _, kind, _, line, times in step["events"] if kind in kinds}


@pytest.mark.parametrize("method", METHODS_TRAINED)
def test_a_step_waits_for_nothing_and_takes_one_copy(steps, method):
    assert events(steps[method], "sync", "copy to host", "blocking copy", "unpinned copy") == {}
    assert sum(events(steps[method], "copy").values()) == 1


def test_a_step_in_float16_waits_for_nothing_either(steps):
    """The fused optimizer is told on the GPU whether a gradient has overflowed."""
    step = steps["simclr, float16"]
    assert events(step, "sync", "copy to host", "blocking copy", "unpinned copy") == {}
    assert "update _amp_foreach_non_finite_check_and_unscale_" in step["operations"]


@pytest.mark.parametrize("method", COMPARED)
def test_images_on_the_host_take_one_copy_more(steps, method):
    """A method that chooses its images on the GPU makes the host wait for the choice, once."""
    step = steps[f"{method}, images on the host"]
    chooses = method == "graph_nnclr"
    assert sum(events(step, "copy to host").values()) == chooses
    assert events(step, "sync", "blocking copy", "unpinned copy") == {}
    assert sum(events(step, "copy").values()) == 2 + chooses


@pytest.mark.parametrize("method", COMPARED)
def test_losses_are_those_of_a_cpu(steps, method):
    """To rounding, over three steps: where operations of a GPU differ from those of a CPU, they compute the same."""
    expected = pytest.approx(steps[f"{method}, CPU"]["loss"], rel=1e-4)
    assert steps[f"{method}, float32"]["loss"] == expected
    assert steps[f"{method}, images on the host"]["loss"] == expected


@pytest.mark.parametrize("method", INTERPRETED)
def test_losses_with_views_by_kernels_are_those_of_a_cpu(steps, method):
    """The first views were compared with those of the operations, and found equal."""
    step = steps[f"{method}, interpreted"]
    assert step["by_kernels"]
    assert step["loss"] == pytest.approx(steps[f"{method}, CPU"]["loss"], rel=1e-4)


@pytest.mark.parametrize("method", METHODS_TRAINED)
def test_views_take_a_few_kernels(steps, method):
    """One for each augmentation; the others join views of equal size, or choose a method's images."""
    kernels, operations = steps[method]["kernels"]["views"], steps[method]["operations"]
    assert operations["views crop_and_colour"] <= 3
    assert kernels <= 40


@pytest.fixture(scope="session")
def graphs(python):
    """Trainings of each method with CUDA graphs and without."""
    requests = [{"method": method} for method in METHODS_TRAINED]
    return {one["method"]: one for one in python("-m", "tests.pretend_gpu.steps", json.dumps(requests), "--graphs")}


@pytest.mark.parametrize("method", METHODS_TRAINED)
def test_a_graph_of_a_step_computes_what_the_operations_do(graphs, method):
    """Bit for bit, over steps of two epochs; all kernels of both passes are one launch, beside copies of the batch."""
    trained = graphs[method]
    assert trained["difference"] == 0
    assert trained["reason"] == ("it draws random numbers on the host" if method == "ijepa" else "")
    by_operations, by_graph = trained["kernels"]
    assert by_operations >= 50
    assert (by_graph <= 10) == (method != "ijepa")


SMALL_GRAPH = 4
"""Launches of a toy's passes by a graph: three copies, and the graph."""

WITHOUT_GRAPH = {
    "NewEveryStep": "changes from step to step",
    "CountsCalls": "changes attributes",
    "DrawsOnHost": "draws random numbers on the host",
    "Waits": "wait for the GPU",
    "RemembersTheLastBatch": "computes something else",
    "RebindsABuffer": "changes from step to step",
}


def test_what_a_graph_would_get_wrong_is_computed_without(python):
    """Methods that a graph cannot repeat are trained as without graphs, and it is said why."""
    toys = python("-m", "tests.pretend_gpu.toys")
    assert {name: toy["equal"] for name, toy in toys.items()} == dict.fromkeys(toys, True)
    for name, toy in toys.items():
        assert WITHOUT_GRAPH.get(name, "") in toy["reason"], name
        assert bool(toy["reason"]) == (name in WITHOUT_GRAPH)
        assert (toy["kernels"][-1] == SMALL_GRAPH) == (name not in WITHOUT_GRAPH)


def test_evaluations_do_without_float64_on_the_device(python):
    """As on Apple's GPUs: what needs float64 is computed on the CPU, and the results are those of a CPU."""
    code = """
import json, torch
from protocols.evaluate.accuracy import calibration_error
from protocols.evaluate.health import rankme
from protocols.evaluate.knn import knn
from protocols.evaluate.knn_of_other_projects import knn_wmse
from protocols.evaluate.retrieval import retrieval
from protocols.features.features import Features
from protocols.features.neighbours import nearest_others
from protocols.refine.refiner import principal_components
from protocols.system import device
from tests.pretend_gpu.device import PretendedGPU

def measure(where):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    train, test = (torch.randn(60, 8, generator=g) + torch.eye(8)[labels] for _ in range(2))
    train, test, labels = train.to(where), test.to(where), labels.to(where)
    features = Features(train, labels, test, labels, classes=3, seed=0)
    return {
        "knn": knn(features, k=5), "knn-wmse": knn_wmse(features), "rankme": rankme(train),
        "retrieval": retrieval(features, k=5, queries=2).metrics, "calibration": calibration_error(test, labels),
        "others": nearest_others(train, 3).index.cpu().tolist(),
        "map": principal_components(test).tolist(),
    }

expected = measure("cpu")
device.WITHOUT_FLOAT64 = frozenset({"cuda"})
refused = False
with PretendedGPU(float64=False):
    try:
        torch.zeros(2, device="cuda").double()
    except TypeError:
        refused = True
    measured = measure("cuda")
print(json.dumps({"refused": refused, "same": expected == measured}))
"""
    assert python("-c", code) == {"refused": True, "same": True}


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
