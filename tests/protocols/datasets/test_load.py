import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from protocols.datasets import load
from protocols.datasets.base import Dataset, Source, Split
from protocols.datasets.load import load_dataset, prepare_dataset, require, validate
from protocols.spec.plugins import DATASETS, dataset_source
from results.errors import BrokenPlugin, DataMissing, RequestError, UnknownName

DOWNLOADED = ("cifar10", "cifar10-15k", "cifar100", "cifar100-20", "fashion_mnist")
DOWNLOADED += ("slimagenet64", "stl10", "svhn", "tiny_imagenet")


def split(count=4, side=8, labels=None):
    return Split(np.zeros((count, side, 3, side), np.uint8), np.arange(count) % 2 if labels is None else labels)


SOUND = Dataset("toy", ("a", "b"), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), train=split(), test=split())


def test_every_data_set_has_a_summary():
    assert {*DOWNLOADED, "digits", "folder", "held_out"} <= set(DATASETS.names())
    for entry in DATASETS.entries():
        assert len(entry.summary) > 20, entry.name


@pytest.mark.parametrize("name", DOWNLOADED)
def test_missing_data_say_what_to_do(name, tmp_path):
    with pytest.raises(DataMissing) as caught:
        require(["digits", name], tmp_path)
    assert caught.value.message.startswith(f"{name}: {tmp_path}")
    assert f"bench data {name} --data {tmp_path}" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_looking_for_data_imports_no_torch(tmp_path):
    whole = [name for name in DATASETS.names() if not DATASETS.get(name).argument]
    names = [*whole, "folder:nowhere", "held_out:cifar10"]
    code = (
        "import sys; from pathlib import Path; from protocols.datasets.load import dataset_source\n"
        f"for name in {names}: dataset_source(name, Path({str(tmp_path)!r})).missing()\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("cifar", "unknown dataset 'cifar'; did you mean cifar10"),
        ("digits:8", "digits takes nothing after a colon, and got '8'; write digits"),
        ("folder", r"folder needs more than its name; write folder:PATH\[@SIDE\]"),
        ("folder:", "folder needs more than its name"),
    ],
)
def test_names_that_cannot_be(name, complaint, tmp_path):
    with pytest.raises(RequestError, match=complaint):
        dataset_source(name, tmp_path)


def test_unknown_name(tmp_path):
    with pytest.raises(UnknownName):
        require(["cifra10"], tmp_path)


@pytest.fixture
def toys(monkeypatch):
    """Three data sets that count how often they are loaded and fetched."""
    monkeypatch.setattr(load, "_cache", {})
    happened = []

    class Toy(Source):
        def missing(self):
            return "" if ("fetch", self.name) in happened or self.name == "toy0" else "it is not there"

        def download(self):
            happened.append(("fetch", self.name))

        def load(self):
            happened.append(("load", self.name))
            self.report("playing", 1, 2)
            return dataclasses.replace(SOUND, name=self.name)

    for name in ("toy0", "toy1", "toy2"):
        monkeypatch.setitem(DATASETS._loaded, name, (Toy, None))
    return happened


def test_the_last_two_stay_in_memory(toys, tmp_path):
    for name in ("toy1", "toy2"):
        prepare_dataset(name, tmp_path)
    toys[:] = [event for event in toys if event[0] == "fetch"]
    first = load_dataset("toy0", tmp_path)
    assert load_dataset("toy0", tmp_path) is first
    for name in ("toy2", "toy0", "toy1", "toy0", "toy2"):
        assert load_dataset(name, tmp_path).name == name
    assert [name for event, name in toys if event == "load"] == ["toy0", "toy1", "toy2"]


def test_another_root_is_another_data_set(toys, tmp_path):
    assert load_dataset("toy0", tmp_path) is not load_dataset("toy0", tmp_path / "other")


def test_only_what_is_missing_is_fetched(toys, tmp_path):
    with pytest.raises(DataMissing, match="toy1: it is not there; run: bench data toy1"):
        load_dataset("toy1", tmp_path)
    prepare_dataset("toy0", tmp_path)
    prepare_dataset("toy1", tmp_path)
    assert toys == [("load", "toy0"), ("fetch", "toy1"), ("load", "toy1")]


def test_progress_is_told(toys, tmp_path):
    reports = []
    load_dataset("toy0", tmp_path, progress=lambda *report: reports.append(report))
    assert reports == [("playing", 1, 2)]


def test_a_sound_data_set_passes():
    validate(SOUND)
    validate(dataclasses.replace(SOUND, unlabeled=split(labels=np.full(4, -1))))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"train": Split(np.zeros((4, 8, 3, 8)), np.zeros(4, np.int64))}, "train images are float64, not uint8"),
        ({"train": Split(np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int64))}, r"train images are \(4, 8, 8, 3\)"),
        ({"test": split(side=9)}, r"test images are \(4, 9, 3, 9\)"),
        ({"test": split(labels=np.arange(3))}, r"test labels are \(3,\) int64, not \(4,\) int64"),
        ({"test": split(labels=np.zeros(4, np.int32))}, "test labels are .* int32"),
        ({"test": split(labels=np.arange(4))}, "test labels reach from 0 to 3, with 2 classes"),
        ({"test": split(labels=np.full(4, -1))}, "test labels reach from -1 to -1"),
        ({"test": split(count=0)}, "test is empty"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
    ],
)
def test_a_broken_contract_is_named(change, complaint):
    with pytest.raises(BrokenPlugin, match=f"dataset 'toy': {complaint}"):
        validate(dataclasses.replace(SOUND, **change))
