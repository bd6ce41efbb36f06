"""STL-10, SVHN and Fashion-MNIST, in the files that torchvision downloads."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from protocols.datasets import prepared
from protocols.datasets.base import Dataset, Split, rows_of_planes
from protocols.datasets.fetched import Fetched
from protocols.spec.plugins import register_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@register_dataset("stl10")
class Stl10(Fetched):
    """STL-10: photographs of 10 kinds of things, 100,000 unlabelled + 5,000 + 8,000 of 96×96.

    Coates, Ng & Lee 2011. Self-supervised methods pretrain on the unlabelled images. The images are converted to the
    harness's layout once, and written to ``prepared``. Normalisation: as in Patacchiola & Storkey 2020.
    """

    files: ClassVar = {
        "stl10_binary/train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "stl10_binary/train_y.bin": "5a34089d4802c674881badbb80307741",
        "stl10_binary/unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
        "stl10_binary/test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "stl10_binary/test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    }

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        from torchvision.datasets import STL10

        class Stl10ByHttps(STL10):  # type: ignore[misc]
            url = STL10.url.replace("http://", "https://")

        Stl10ByHttps(self.root, split="test", download=True)

    def load(self) -> Dataset:
        """Read the files, or map the arrays that an earlier load wrote."""
        self.require()
        unlabeled = self.images("unlabeled")
        return Dataset(
            name=self.name,
            classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            train=Split(self.images("train"), self.labels("train")),
            test=Split(self.images("test"), self.labels("test")),
            unlabeled=Split(unlabeled, np.full(len(unlabeled), -1)),
        )

    def labels(self, part: str) -> np.ndarray:
        """The labels of a split, from 0."""
        return np.frombuffer(self.verified(f"stl10_binary/{part}_y.bin"), np.uint8).astype(np.int64) - 1

    def images(self, part: str) -> np.ndarray:
        """The images of a split."""
        file = f"stl10_binary/{part}_X.bin"
        count = (self.root / file).stat().st_size // (3 * 96 * 96)
        read = partial(self.chunks, file, f"reading STL-10 {part}")
        return prepared.load_or_write(self.array_path(part), (count, 96, 3, 96), read)

    def array_path(self, part: str) -> Path:
        """Where the images of a split are cached."""
        file = f"stl10_binary/{part}_X.bin"
        stat = (self.root / file).stat()
        return prepared.array_path(self.root, f"stl10-{part}", 96, prepared.File(file, stat.st_size, stat.st_mtime_ns))

    def prepared_files(self) -> list[Path]:
        """The arrays of all splits.

        Raises:
            DataMissing: a file is missing.
        """
        self.require()
        arrays = [self.array_path(part) for part in ("train", "unlabeled", "test")]
        return [file for array in arrays for file in prepared.array_files(array)]

    def chunks(self, file: str, what: str) -> Iterator[np.ndarray]:
        """The images of a file, a chunk at a time."""
        size, done = 3 * 96 * 96, 0
        count = (self.root / file).stat().st_size // size
        for chunk in self.verified_chunks(file, prepared.CHUNK * size):
            if len(chunk) % size:
                raise self.damaged(self.root / file, "it does not end with an image")
            images = stl10_images(chunk)
            yield np.ascontiguousarray(images)
            done += len(images)
            self.report(what, done, count)


def stl10_images(content: bytes) -> np.ndarray:
    """View 96×96 images, whose planes lie column by column, as (n, 96, 3, 96) uint8."""
    return np.frombuffer(content, np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 1, 2)


@register_dataset("svhn")
class Svhn(Fetched):
    """SVHN: house numbers cut to their middle digit, 73,257 + 26,032 of 32×32, 10 classes; without the extra images.

    Netzer et al. 2011. Normalisation: the values in common use, taken from the train split.
    """

    files: ClassVar = {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        from torchvision.datasets import SVHN

        class SvhnByHttps(SVHN):  # type: ignore[misc]
            split_list = {  # noqa: RUF012 - as the base class has it
                split: [url.replace("http://", "https://"), *rest] for split, (url, *rest) in SVHN.split_list.items()
            }

        for split in ("train", "test"):
            SvhnByHttps(self.root, split=split, download=True)

    def load(self) -> Dataset:
        """Read all files."""
        return Dataset(
            name=self.name,
            classes=tuple("0123456789"),
            mean=(0.4377, 0.4438, 0.4728),
            std=(0.198, 0.201, 0.197),
            train=svhn_split(self.verified("train_32x32.mat")),
            test=svhn_split(self.verified("test_32x32.mat")),
        )


def svhn_split(content: bytes) -> Split:
    """Read a MATLAB file: ``X`` of (32, 32, 3, n), ``y`` of (n, 1) where 10 stands for the digit 0."""
    from scipy.io import loadmat

    arrays = loadmat(io.BytesIO(content))  # type: ignore[arg-type] # its annotation lacks files
    images = np.ascontiguousarray(arrays["X"].transpose(3, 0, 2, 1))
    return Split(images, arrays["y"].ravel().astype(np.int64) % 10)


@register_dataset("fashion_mnist")
class FashionMnist(Fetched):
    """Fashion-MNIST: pictures of 10 kinds of clothes, 60,000 + 10,000 of 28×28 grey.

    Xiao, Rasul & Vollgraf 2017. Normalisation: the values in common use, taken from the train split. torchvision
    publishes the checksums of the compressed files; these are of the same files uncompressed.
    """

    files: ClassVar = {
        "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        from torchvision import datasets

        class FashionMNIST(datasets.FashionMNIST):  # type: ignore[misc] # its name is the folder's
            mirrors = ("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",)

        FashionMNIST(self.root, download=True)

    def load(self) -> Dataset:
        """Read all files."""
        classes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
        return Dataset(
            name=self.name,
            classes=tuple(classes.split(",")),
            mean=(0.286, 0.286, 0.286),
            std=(0.353, 0.353, 0.353),
            train=self.split("train"),
            test=self.split("t10k"),
        )

    def split(self, part: str) -> Split:
        """The images and labels of a split."""
        images, labels = (self.verified(file) for file in self.files if f"/{part}-" in file)
        return Split(rows_of_planes(read_idx(images)), read_idx(labels).astype(np.int64))


def read_idx(content: bytes) -> np.ndarray:
    """Read the IDX format: two zero bytes, type 8 (uint8), number of axes, their lengths, the values."""
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
