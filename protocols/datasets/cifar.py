"""CIFAR-10, and CIFAR-100 with its fine or its coarse labels (Krizhevsky 2009)."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from protocols.datasets.base import Dataset, Split
from protocols.datasets.fetched import Fetched
from protocols.spec.plugins import register_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protocols.datasets.base import Triple


class Cifar(Fetched):
    """Base class: Python 2 pickles, read after their checksums were verified.

    Attributes:
        labels: key of the labels in a batch.
        names: key of the class names in the last of :attr:`files`.
    """

    labels: ClassVar[str]
    names: ClassVar[str]
    mean: ClassVar[Triple]
    std: ClassVar[Triple]

    def load(self) -> Dataset:
        """Read the batches; those whose names begin with ``test`` are the test split."""
        *batches, meta = self.files
        return Dataset(
            name=self.name,
            classes=tuple(self.unpickle(meta)[self.names]),
            mean=self.mean,
            std=self.std,
            train=self.split(file for file in batches if "/test" not in file),
            test=self.split(file for file in batches if "/test" in file),
        )

    def split(self, files: Iterable[str]) -> Split:
        """The images and labels of some batches, in their order."""
        batches = [self.unpickle(file) for file in files]
        planes = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch[self.labels] for batch in batches])
        return Split(np.ascontiguousarray(planes.transpose(0, 2, 1, 3)), labels.astype(np.int64))

    def unpickle(self, file: str) -> dict[str, Any]:
        """The content of a pickled file."""
        with self.verified(file).open("rb") as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about pickles of old versions
            content: dict[str, Any] = pickle.load(opened, encoding="latin1")  # noqa: S301 - the checksum was verified
        return content


@register_dataset("cifar10")
class Cifar10(Cifar):
    """CIFAR-10: photographs of 10 kinds of things, 50,000 + 10,000 of 32×32.

    Normalisation: as in Patacchiola & Storkey 2020.
    """

    files: ClassVar = {
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
        "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    labels = "labels"
    names = "label_names"
    mean = (0.491, 0.482, 0.447)
    std = (0.247, 0.243, 0.262)

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        from torchvision.datasets import CIFAR10

        CIFAR10(self.root, download=True)


@register_dataset("cifar10-15k")
class Cifar10Part(Cifar10):
    """The first 10,000 training and 5,000 test images of CIFAR-10, for what takes too long on all.

    Normalisation: that of CIFAR-10. Batches are shuffled, so that classes are almost balanced.
    """

    def load(self) -> Dataset:
        """Read the batches, and cut both splits."""
        whole = super().load()
        train, test = (
            Split(split.images[:count], split.labels[:count])
            for split, count in ((whole.train, 10_000), (whole.test, 5_000))
        )
        return replace(whole, train=train, test=test)


@register_dataset("cifar100")
class Cifar100(Cifar):
    """CIFAR-100: photographs of 100 kinds of things, 50,000 + 10,000 of 32×32.

    Normalisation: as in Patacchiola & Storkey 2020.
    """

    files: ClassVar = {
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
    }
    labels = "fine_labels"
    names = "fine_label_names"
    mean = (0.507, 0.487, 0.441)
    std = (0.267, 0.256, 0.276)

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        from torchvision.datasets import CIFAR100

        CIFAR100(self.root, download=True)


@register_dataset("cifar100-20")
class Cifar100Coarse(Cifar100):
    """CIFAR-100 with its 20 coarse labels, the official super-classes."""

    labels = "coarse_labels"
    names = "coarse_label_names"
