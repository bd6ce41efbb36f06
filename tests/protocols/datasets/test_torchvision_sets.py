"""STL-10, SVHN and Fashion-MNIST, in small files of their genuine formats."""

import hashlib
import shutil
from typing import ClassVar

import numpy as np
import pytest
import scipy.io
import torchvision

from protocols.datasets.base import rows_of_planes
from protocols.datasets.cifar import Cifar10, Cifar100
from protocols.datasets.load import validate
from protocols.datasets.torchvision_sets import FashionMnist, Stl10, Svhn, stl10_images
from results.errors import DataMissing


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def with_checksums_of(root, source):
    """The same source, for files whose checksums are not the published ones."""

    class Small(source):
        files: ClassVar = {
            file: hashlib.md5((root / file).read_bytes(), usedforsecurity=False).hexdigest() for file in source.files
        }

    return Small("small", root)


def test_checksums_are_those_that_torchvision_publishes():
    theirs = torchvision.datasets.STL10
    listed = [*theirs.train_list, *theirs.test_list]
    assert Stl10.files == {f"{theirs.base_folder}/{file}": md5 for file, md5 in listed}
    splits = torchvision.datasets.SVHN.split_list
    assert Svhn.files == {splits[split][1]: splits[split][2] for split in ("train", "test")}


@pytest.fixture
def stl10(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, count in (("train", 20), ("test", 10), ("unlabeled", 700)):
        noise(count, 3, 96, 96).tofile(folder / f"{part}_X.bin")
        (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    return with_checksums_of(tmp_path, Stl10)


def test_stl10(stl10):
    dataset = stl10.load()
    validate(dataset)
    assert dataset.test.labels.tolist() == list(range(10))
    assert len(dataset.pretrain) == 700
    assert set(dataset.pretrain.labels) == {-1}
    raw = noise(700, 3, 96, 96)
    assert np.array_equal(dataset.unlabeled.images, raw.transpose(0, 3, 1, 2))


def test_stl10_planes_lie_as_torchvision_reads_them(stl10):
    class Unchecked(torchvision.datasets.STL10):
        def _check_integrity(self):
            return True

    theirs = np.stack([np.asarray(image) for image, _ in Unchecked(stl10.root, split="test")])
    assert np.array_equal(
        stl10_images((stl10.root / "stl10_binary" / "test_X.bin").read_bytes()), rows_of_planes(theirs)
    )


def test_stl10_is_verified_and_converted_once(stl10):
    reports = []
    stl10.progress = lambda *report: reports.append(report)
    first = stl10.load()
    assert reports[:2] == [("reading STL-10 unlabeled", 512, 700), ("reading STL-10 unlabeled", 700, 700)]
    reports.clear()
    again = stl10.load()
    assert isinstance(again.unlabeled.images, np.memmap)
    assert np.array_equal(first.unlabeled.images, again.unlabeled.images)
    assert not reports


def test_stl10_damaged(stl10):
    with (stl10.root / "stl10_binary" / "unlabeled_X.bin").open("r+b") as file:
        file.write(b"damage")
    with pytest.raises(DataMissing, match=r"unlabeled_X\.bin is damaged"):
        stl10.load()
    assert not list((stl10.root / "prepared").iterdir())


def test_stl10_missing(stl10):
    (stl10.root / "stl10_binary" / "test_y.bin").unlink()
    with pytest.raises(DataMissing, match=r"test_y\.bin is not there"):
        stl10.load()


def test_svhn(tmp_path):
    images, digits = noise(32, 32, 3, 12), np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1], np.uint8)[:, None]
    for part in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": digits}, do_compression=True)
    source = with_checksums_of(tmp_path, Svhn)
    dataset = source.load()
    validate(dataset)

    class Small(torchvision.datasets.SVHN):
        split_list: ClassVar = {"test": ["", "test_32x32.mat", source.files["test_32x32.mat"]]}

    theirs = Small(tmp_path, split="test")
    assert dataset.test.labels.tolist() == theirs.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert np.array_equal(dataset.test.images, theirs.data.transpose(0, 2, 1, 3))


@pytest.fixture
def fashion_mnist(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 300)):
        header = b"\0\0\x08\x03" + np.array([count, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + noise(count, 28, 28).tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + np.array([count], ">i4").tobytes() + labels
        )
    return with_checksums_of(tmp_path, FashionMnist)


def test_fashion_mnist(fashion_mnist):
    dataset = fashion_mnist.load()
    validate(dataset)
    theirs = torchvision.datasets.FashionMNIST(fashion_mnist.root, train=False)
    assert np.array_equal(dataset.test.images, rows_of_planes(theirs.data.numpy()))
    assert dataset.test.labels.tolist() == theirs.targets.tolist()
    assert dataset.classes == tuple(theirs.classes)


def test_files_with_other_checksums_are_refused(fashion_mnist):
    genuine = FashionMnist("fashion_mnist", fashion_mnist.root)
    assert not genuine.missing()
    with pytest.raises(DataMissing, match="is damaged: its checksum is not the published one"):
        genuine.load()


def test_missing_names_the_file(fashion_mnist):
    shutil.rmtree(fashion_mnist.root / "FashionMNIST")
    assert fashion_mnist.missing() == f"{fashion_mnist.root}/FashionMNIST/raw/train-images-idx3-ubyte is not there"


def test_every_download_is_by_https(tmp_path, monkeypatch):
    asked = []

    def download(url, *_, **__):
        asked.append(url)
        raise OSError("no network")

    for module in (torchvision.datasets.stl10, torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", download)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", download)
    for source in (Stl10, Svhn, FashionMnist, Cifar10, Cifar100):
        with pytest.raises(OSError, match="cannot download"):
            source("name", tmp_path).download()
    assert len(asked) == 5
    assert [url for url in asked if not url.startswith("https://")] == []
