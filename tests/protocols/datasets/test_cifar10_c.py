"""CIFAR-10-C from files that are made here, beside digits in place of CIFAR-10."""

import numpy as np
import pytest

from protocols.datasets import cifar10_c
from protocols.datasets.base import rows_of_planes
from protocols.datasets.load import clear_caches, load_dataset
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two kinds of corruption of three images at five strengths."""
    monkeypatch.setattr(cifar10_c, "CLEAN", "digits")
    draw, folder = np.random.default_rng(0), tmp_path / "CIFAR-10-C"
    side = load_dataset("digits", tmp_path).side
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile([3, 1, 2], 5).astype(np.uint8))
    for kind in ("fog", "brightness"):
        np.save(folder / f"{kind}.npy", draw.integers(0, 256, (15, side, side, 3), dtype=np.uint8))
    clear_caches()
    yield tmp_path
    clear_caches()


def test_the_test_split_is_what_the_files_hold_and_the_rest_is_the_clean_data_set(root):
    clean, every, fog = (load_dataset(name, root) for name in ("digits", "cifar10-c", "cifar10-c:fog"))
    for found in (every, fog):
        assert np.array_equal(found.train.images, clean.train.images)
        assert (found.mean, found.std, found.classes) == (clean.mean, clean.std, clean.classes)
    images = {kind: rows_of_planes(np.load(root / f"CIFAR-10-C/{kind}.npy")) for kind in ("brightness", "fog")}
    assert np.array_equal(every.test.images, np.concatenate([*images.values()]))
    assert np.array_equal(fog.test.images, images["fog"])
    assert fog.test.labels.tolist() == [3, 1, 2] * 5
    assert every.test.labels.tolist() == [3, 1, 2] * 10


def test_its_identity_is_the_content_of_the_files_that_are_used(root):
    digests = {name: dataset_source(name, root).digest() for name in ("cifar10-c", "cifar10-c:fog")}
    np.save(root / "CIFAR-10-C/brightness.npy", np.zeros((15, 8, 8, 3), np.uint8))
    assert dataset_source("cifar10-c:fog", root).digest() == digests["cifar10-c:fog"]
    assert dataset_source("cifar10-c", root).digest() != digests["cifar10-c"]
    assert len({*digests.values(), ""}) == 3


def test_missing_and_damaged_files_are_named(root):
    for name, file in (("cifar10-c:snow", "snow.npy"), ("cifar10-c:labels", "")):
        with pytest.raises(DataMissing, match=file or "labels is no kind"):
            load_dataset(name, root)
    np.save(root / "CIFAR-10-C/fog.npy", np.zeros((14, 8, 8, 3), np.uint8))
    with pytest.raises(DataMissing, match=r"fog.npy is damaged: it has uint8 of shape \(14, 8, 8, 3\), not 15"):
        load_dataset("cifar10-c:fog", root)
    (root / "CIFAR-10-C/fog.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataMissing, match=r"fog.npy is damaged"):
        load_dataset("cifar10-c:fog", root)
    (root / "CIFAR-10-C/labels.npy").unlink()
    with pytest.raises(DataMissing, match=r"labels.npy is not there; unpack the authors' CIFAR-10-C.tar in"):
        load_dataset("cifar10-c", root)
