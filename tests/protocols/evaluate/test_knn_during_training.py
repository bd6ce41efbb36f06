"""Accuracy during training: what it is, and that nothing else changes by it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from protocols.backbones.small import Conv4
from protocols.datasets.base import Split
from protocols.datasets.load import load_dataset
from protocols.evaluate import knn_during_training as module
from protocols.evaluate.knn_during_training import knn_during_training
from protocols.features.extraction import extract_dataset
from protocols.runner import execute
from protocols.spec import protocol as protocols
from protocols.spec.execution import ExecutionContext
from protocols.spec.plugins import EVALUATIONS
from protocols.spec.resolve import parse_changes, resolve
from protocols.system.progress import ProgressListener
from protocols.system.randomness import permutation
from results import store
from results.analysis.frame import load_runs
from results.errors import Diverged, RequestError
from results.record import Record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", Path("data"))


def run_of(*settings, method="byol"):
    small = ["pretrain.epochs=3", "pretrain.batch=256", "pretrain.precision=float32", "byol.hidden=32"]
    return resolve(
        protocols.load("quick"),
        method=method,
        dataset="digits",
        backbone="conv4",
        seed=0,
        changes=parse_changes([*small, *settings]),
        data=Path("data"),
        evaluate=["knn"],
    )


def carry_out(run, runs, listener=None):
    return execute(run, ExecutionContext(runs, Path("data"), "cpu"), listener or ProgressListener())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The records of a run without measurements and of one with some after every epoch; and their folders."""
    folders = [tmp_path_factory.mktemp(name) for name in ("without", "with")]
    runs = [run_of(), run_of("pretrain.knn_every=1")]
    return [carry_out(run, folder) for run, folder in zip(runs, folders, strict=True)], folders


def weights(folder):
    (path,) = folder.glob(f"*/{store.BACKBONE}")
    return torch.load(path, weights_only=True)["backbone"]


def accuracies(record):
    return [line.get("knn_top1") for line in record.history]


def test_a_run_that_is_measured_ends_with_the_same_weights_under_the_same_name(finished):
    (without, measured), folders = finished
    first, second = (weights(folder) for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    names = [next(folder.glob(f"*/{store.RECORD}")).parent.name for folder in folders]
    assert names[0] == names[1]
    assert without.run["label"] == measured.run["label"]
    assert [m.value for m in without.metrics] == [m.value for m in measured.metrics]
    assert accuracies(without) == [None] * 3
    assert all(0 < value <= 100 for value in accuracies(measured))
    same = [{k: v for k, v in line.items() if k not in ("knn_top1", "seconds")} for line in measured.history]
    assert same == [{k: v for k, v in line.items() if k != "seconds"} for line in without.history]


def test_the_last_value_is_that_of_the_final_weights_on_held_out_training_images(finished, digits):
    (_, measured), (_, folder) = finished
    backbone = Conv4().eval()
    backbone.load_state_dict(weights(folder))
    chosen = permutation(len(digits.train), 0, "monitor").numpy()
    held_out = round(0.2 * len(chosen))
    pixels = torch.from_numpy(digits.train.images).permute(0, 2, 1, 3) / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (digits.mean, digits.std))
    with torch.no_grad():
        x = backbone((pixels - mean) / std).numpy()
    reference = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(x[chosen[held_out:]], digits.train.labels[chosen[held_out:]])
    expected = 100 * reference.score(x[chosen[:held_out]], digits.train.labels[chosen[:held_out]])
    assert accuracies(measured)[-1] == pytest.approx(expected, abs=0.5)


def test_a_resumed_run_has_the_same_history(finished, tmp_path, stop_after):
    (_, measured), (_, folder) = finished
    run = run_of("pretrain.knn_every=1")
    for steps in (3, 6):  # within the first epoch, and where the second one ends
        with pytest.raises(KeyboardInterrupt):
            carry_out(run, tmp_path, stop_after(steps))
    record = carry_out(run, tmp_path)
    assert accuracies(record) == accuracies(measured)
    assert all(torch.equal(weights(folder)[name], value) for name, value in weights(tmp_path).items())


def test_it_is_measured_every_so_many_epochs_only(tmp_path):
    record = carry_out(run_of("pretrain.knn_every=2", method="random"), tmp_path)
    assert record.history == ()
    record = carry_out(run_of("pretrain.knn_every=2", method="simclr"), tmp_path)
    assert [value is None for value in accuracies(record)] == [True, False, True]
    assert Record.from_json(record.to_json()) == record
    history = load_runs(tmp_path).history
    assert history["knn_top1"].isna().to_list() == [True, False, True]
    assert history["knn_top1"].iloc[1] == accuracies(record)[1]


def test_measuring_changes_neither_the_backbone_nor_the_random_state(digits):
    torch.manual_seed(0)
    backbone = Conv4().train()
    backbone.stem.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    modes, random = [m.training for m in backbone.modules()], torch.get_rng_state()
    value = knn_during_training(digits, CPU, 0)(backbone)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert [m.training for m in backbone.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert knn_during_training(digits, CPU, 0)(backbone) == value
    assert knn_during_training(digits, CPU, 1)(backbone) != value


def test_the_test_split_is_not_used(digits):
    spoilt = Split(digits.test.images * 0, digits.test.labels * 0)
    torch.manual_seed(0)
    backbone = Conv4()
    values = [
        knn_during_training(data, CPU, 0)(backbone) for data in (digits, dataclasses.replace(digits, test=spoilt))
    ]
    assert values[0] == values[1]


def test_a_large_split_is_sampled(digits, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 100)
    sizes = []

    def measure(features):
        sizes.append((len(features.train), len(features.test)))
        return {"top1": 0.0}

    monkeypatch.setattr(EVALUATIONS, "get", {"knn": measure}.get)
    knn_during_training(digits, CPU, 0)(Conv4())
    assert sizes == [(80, 20)]


def test_what_is_not_finite_is_named(digits):
    backbone = Conv4()
    with torch.no_grad():
        next(backbone.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="the representation is not finite"):
        knn_during_training(digits, CPU, 0)(backbone)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_single_image_that_is_not_finite_is_enough(digits, monkeypatch, part):
    def extract(*arguments):
        found = extract_dataset(*arguments)
        getattr(found, part)[3, 0] = float("nan")
        return found

    monkeypatch.setattr(module, "extract_dataset", extract)
    with pytest.raises(Diverged, match="the representation is not finite"):
        knn_during_training(digits, CPU, 0)(Conv4())


def test_how_often_has_a_range_and_is_part_of_no_label():
    with pytest.raises(RequestError, match=r"pretrain.knn_every must be 1 or more, not 0"):
        run_of("pretrain.knn_every=0")
    run = run_of("pretrain.knn_every=5", method="byol[knn_every=7]")
    assert run.pretrain.knn_every == 7
    assert (run.label, run.method.label) == (run_of().label, run_of().method.label)
    assert run.fingerprint() == run_of().fingerprint()
