"""How a run's pretraining is built."""

from pathlib import Path

import pytest
import torch

from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.spec.protocol import load
from protocols.spec.resolve import resolve


@pytest.mark.parametrize("reference", [False, True])
def test_reference_operations_are_those_of_views_too(tmp_path, reference):
    words = {"method": "simclr", "dataset": "digits", "backbone": "conv4", "seed": 0}
    run = resolve(load("quick"), **words, changes={}, data=Path("data"))
    dataset = load_dataset("digits", tmp_path)
    job = build_job(run, tmp_path, dataset, torch.device("cpu"), reference=reference)
    assert {augmenter.reference for augmenter in job.augmenters.values()} == {reference}
    assert {module.reference for module in job.method.modules() if hasattr(module, "reference")} == {reference}
