"""What a step of each method costs on a GPU, counted on a pretended one; prints JSON.

Executed by ``python -m tests.pretend_gpu`` and by the tests, in a process with the pretended driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from methods import METHODS
from protocols.augment import gpu_views
from protocols.datasets.device_images import HostImages
from protocols.datasets.load import load_dataset
from protocols.pretrain import loop
from protocols.pretrain.build import build_job
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.optimizers import build_optimizer
from protocols.spec.protocol import PRESETS, load
from protocols.spec.resolve import parse_changes, resolve
from results.names import UNTRAINED
from tests.pretend_gpu.device import Counts, PretendedGPU, PretendedGraph, capture, launch

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 16
SMALL = {
    "adasim": "prototypes=16 hidden=16 window=1",
    "barlow": "hidden=32 output=32",
    "byol": "hidden=32",
    "deepcluster": "clusters=10 iterations=5 restarts=2",
    "dino": "prototypes=16 hidden=16 crops=2",
    "graph_nnclr": "prototypes=16 hidden=16 window=1",
    "mocov2": "hidden=32 queue=100",
    "nnclr": "hidden=32 queue=100",
    "relational": "views=3",
    "vicreg": "hidden=32 output=32",
    "tico": "hidden=32 output=16",
    "mmcr": "hidden=32 output=16",
    "ressl": "hidden=32 queue=100",
    "mocov3": "hidden=32",
    "swav": "prototypes=16 hidden=16 output=8 crops=2 queue=16 queue_start=0.0 freeze=0.0",
    "lejepa": "hidden=32 output=16 crops=2 directions=16",
    "mae": "width=16 depth=1 heads=2",
    "ijepa": "width=16 depth=1 heads=2",
    "ibot": "prototypes=16 hidden=16 crops=2",
    "wmse": "hidden=32 output=4 sub_batch=8",
}
"""Options that make heads small: what a step does stays, and computing it on a CPU is quick."""

PHASES = ("views", "forward", "backward", "update")
KINDS = ("blocking copy", "unpinned copy", "copy", "copy to host", "sync")


Views = Literal["kernels", "interpreted", "operations"]


@contextlib.contextmanager
def pretended_job(
    method: str,
    device: str,
    settings: Sequence[str],
    views: Views,
    *,
    host_images: bool = False,
    graphs: bool = False,
):
    """A small pretraining of a method on digits, and the pretended GPU, or None for ``cpu``."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        gpu = None
        if device == "cuda":
            gpu = stack.enter_context(PretendedGPU(interprets=views == "interpreted"))
            gpu_views.launch = launch
            torch.cuda.CUDAGraph, torch.cuda.graph = PretendedGraph, capture
        # Fused attention of a GPU is one kernel, which a CPU cannot compute; by its definition it is several.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        folder = Path(name)
        protocol = folder / "counted.toml"
        protocol.write_text((PRESETS / "quick.toml").read_text().replace("added = true\n", ""))
        options = [f"{method}.{option}" for option in SMALL.get(method, "").split()]
        run = resolve(
            load(str(protocol)),
            method=method,
            dataset="digits",
            backbone="timm:test_vit@patch=4" if METHODS.get(method).uses_tokens else "conv4",
            seed=0,
            changes=parse_changes([*options, f"pretrain.batch={BATCH}", *settings]),
            data=folder,
        )
        dataset = load_dataset("digits", folder)
        job = dataclasses.replace(build_job(run, folder, dataset, torch.device(device)), graphs=graphs)
        if host_images:
            job = dataclasses.replace(job, images=HostImages(dataset.train.images, torch.device(device)))
        if views != "interpreted":
            for augmenter in job.augmenters.values():
                augmenter.by_kernels = views == "kernels"
        yield gpu, job


GRAPH_STEPS = 7
"""Steps of a training with graphs: two that are checked, two by the graph, and the same once more in another epoch."""


def compare_graphs(method: str, *, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Train a method with CUDA graphs and without, in float32.

    Returns:
        ``reason`` why there is no graph, the ``difference`` of its state after the training, relative to what
        training changed, and the kernels of forward and backward pass of the last step without and with a graph.
    """
    states, kernels, reason = [], [], ""
    for graphs in (False, True):
        options = ["pretrain.precision=float32", *settings]
        with pretended_job(method, "cuda", options, "kernels", graphs=graphs) as (gpu, job):
            job.method.train()
            first = values_of(job.method)
            optimizer, state = build_optimizer(job.method, job.pretrain), TrainingState(precision="float32", flops=0.0)
            order = torch.randperm(job.budget.images, generator=torch.Generator().manual_seed(0)).split(BATCH)
            for step, index in enumerate(order[:GRAPH_STEPS]):
                if step == GRAPH_STEPS // 2 and graphs:
                    job.graphed.begin_epoch()
                counts = gpu.counts = Counts(phase="passes")
                with phases(counts):
                    loop.train_step(job, optimizer, state, index, 0)
            kernels.append(sum(counts.kernels[phase] for phase in ("passes", "forward", "backward")))
            states.append(values_of(job.method))
            reason = job.graphed.reason if graphs else ""
    difference = (states[1] - states[0]).norm() / (states[0] - first).norm()
    return {"method": method, "reason": reason, "difference": float(difference), "kernels": kernels}


def values_of(method: torch.nn.Module) -> torch.Tensor:
    """All numbers of a method's state, on the host."""
    return torch.cat([value.host.double().flatten() for value in method.state_dict().values()])


def count_step(
    method: str,
    *,
    device: str = "cuda",
    host_images: bool = False,
    settings: Sequence[str] = (),
    views: Views = "kernels",
) -> dict[str, Any]:
    """Count the third step of a method on digits.

    Args:
        method: its name.
        device: ``cuda``, or ``cpu`` for the loss to compare with.
        host_images: whether the images do not fit on the GPU.
        settings: further ``OPTION=VALUE``.
        views: how they are made: by Triton's kernels that are only counted, so that views are noise; by kernels that
            its interpreter computes; or by torch's operations, as where Triton does not work.

    Returns:
        ``kernels`` and ``bytes`` by phase, whether all views were made ``by_kernels``, ``events`` as [phase, kind,
        operation, line, number of times], and the mean ``loss`` of three steps.
    """
    counts = Counts()
    with pretended_job(method, device, settings, views, host_images=host_images) as (gpu, job):
        job.method.train()
        optimizer, state = build_optimizer(job.method, job.pretrain), TrainingState(precision=job.precision)
        batches = torch.randperm(job.budget.images, generator=torch.Generator().manual_seed(0)).split(BATCH)
        inputs = None
        for index, following in itertools.pairwise(batches[:4]):
            if gpu is not None:
                counts = gpu.counts = Counts(phase="backward")
            with phases(counts):
                loop.prefetch(job, following)
                loop.train_step(job, optimizer, state, index, 0, inputs=inputs)
                inputs = loop.prepare(job, following, 0)
        total = state.sums["loss"]
        loss = float(getattr(total, "host", total)) / state.images
    events = Counter((phase, event.kind, event.operation, event.line) for phase, event in counts.events)
    made_by_kernels = [augmenter.by_kernels for name, augmenter in job.augmenters.items() if name in job.views]
    return {
        "method": method,
        "by_kernels": all(made_by_kernels),
        "kernels": {phase: counts.kernels[phase] for phase in PHASES},
        "bytes": {phase: counts.bytes[phase] for phase in PHASES},
        "events": [[*event, times] for event, times in sorted(events.items())],
        "operations": {f"{phase} {name}": times for (phase, name), times in sorted(counts.operations.items())},
        "loss": loss,
    }


@contextlib.contextmanager
def phases(counts: Counts):
    """Name the phases of a step while its functions run; what is between them is the backward pass."""
    names = {"prefetch": "views", "prepare": "views", "make_batch": "views", "forward": "forward", "update": "update"}
    original = {name: getattr(loop, name) for name in names}

    def named(function: Any, phase: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            before, counts.phase = counts.phase, phase
            try:
                return function(*args, **kwargs)
            finally:
                counts.phase = before

        return call

    for name, function in original.items():
        setattr(loop, name, named(function, names[name]))
    try:
        yield
    finally:
        for name, function in original.items():
            setattr(loop, name, function)


def pretrained_methods() -> list[str]:
    """All registered methods that are trained."""
    return [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]


if __name__ == "__main__":
    torch.set_num_threads(1)
    requests = json.loads(sys.argv[1])
    compute = compare_graphs if "--graphs" in sys.argv else count_step
    print(json.dumps([compute(one.pop("method"), **one) for one in requests]))
