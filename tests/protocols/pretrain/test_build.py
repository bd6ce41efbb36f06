"""How a run's pretraining is built."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job, build_method, count_flops_per_view
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.loop import begin_epoch, train_step
from protocols.pretrain.optimizers import build_optimizer
from protocols.spec.plugins import METHODS
from protocols.spec.protocol import load
from protocols.spec.resolve import resolve
from results.names import UNTRAINED


@pytest.mark.parametrize("reference", [False, True])
def test_reference_operations_are_those_of_views_too(tmp_path, reference):
    words = {"method": "simclr", "dataset": "digits", "backbone": "conv4", "seed": 0}
    run = resolve(load("quick"), **words, changes={}, data=Path("data"))
    dataset = load_dataset("digits", tmp_path)
    job = build_job(run, tmp_path, dataset, torch.device("cpu"), reference=reference)
    assert {augmenter.reference for augmenter in job.augmenters.values()} == {reference}
    assert {module.reference for module in job.method.modules() if hasattr(module, "reference")} == {reference}


def run_of(method, backbone="conv4", **changes):
    words = {"method": method, "dataset": "digits", "backbone": backbone, "seed": 0, "data": Path("data")}
    return resolve(load("quick"), **words, changes={"pretrain": {"batch": 16, **changes}})


def flops_of_first_step(run, folder, dataset):
    """Of a view, counted while a step is computed as in a run."""
    job = build_job(run, folder, dataset, torch.device("cpu"), reference=True)
    state = TrainingState(precision=job.precision)
    begin_epoch(job, 0)
    with sdpa_kernel(SDPBackend.MATH):
        train_step(job, build_optimizer(job.method, job.pretrain), state, torch.arange(run.pretrain.batch), epoch=0)
    return state.flops


FAST = ["simclr", "byol", "relational", "swav", "deepcluster"]
OTHERS = sorted(
    {name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED} - {*FAST}
)


@pytest.mark.parametrize("method", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_operations_are_counted_without_data_as_they_are_with_data(tmp_path, method):
    settings = {"wmse": {"batch": 128}}.get(method, {})
    backbone = "timm:vit_tiny_patch16_224@patch=4" if METHODS.get(method).uses_tokens else "conv4"
    run, dataset = (
        run_of(method, backbone, views=1000, precision="float32", **settings),
        load_dataset("digits", tmp_path),
    )
    counted = count_flops_per_view(run, dataset)
    assert counted == flops_of_first_step(run, tmp_path, dataset)
    assert counted > 1e5


def test_a_method_that_looks_at_values_is_counted_too(tmp_path, monkeypatch):
    run, dataset = run_of("simclr", views=1000), load_dataset("digits", tmp_path)
    counted, forward, devices = count_flops_per_view(run, dataset), METHODS.get("simclr").forward, []

    def look(self, batch):
        devices.append(batch.views.device.type)
        return forward(self, batch) if batch.views.mean().item() else {}

    monkeypatch.setattr(METHODS.get("simclr"), "forward", look)
    assert count_flops_per_view(run, dataset) == counted
    assert devices == ["meta", "cpu"]


def test_a_budget_in_flops_fixes_the_steps_of_every_process(tmp_path):
    run, dataset = run_of("simclr", flops=1e9), load_dataset("digits", tmp_path)
    method, budget = build_method(run, dataset)
    assert budget.total_views * count_flops_per_view(run, dataset) == pytest.approx(1e9, rel=0.05)
    assert method.info.steps == budget.steps
    assert build_method(run_of("random", flops=1e9), dataset)[1].steps == 0
