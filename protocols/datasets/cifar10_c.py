"""CIFAR-10-C: the test images of CIFAR-10 with the corruptions of Hendrycks & Dietterich (2019)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from protocols.datasets import digests, prepared
from protocols.datasets.base import Source, Split, rows_of_planes
from protocols.datasets.load import load_dataset
from protocols.spec.plugins import dataset_source, register_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.datasets.base import Dataset

CLEAN = "cifar10"


@register_dataset("cifar10-c")
class Cifar10C(Source):
    """CIFAR-10, its test images corrupted at five strengths (Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261).

    ``cifar10-c:fog`` has 50,000 test images of one kind, ``cifar10-c`` those of all kinds that are there. To be
    evaluated on (``--evaluate-on``): the training split is CIFAR-10's. The files are ``CIFAR-10-C/*.npy`` of the
    authors' archive, unpacked below the folder of the data sets.
    """

    argument = "[KIND]"

    @property
    def folder(self) -> Path:
        """Of the files."""
        return self.root / "CIFAR-10-C"

    def kinds(self) -> list[Path]:
        """The files of the kinds that are asked for."""
        kind = self.name.partition(":")[2]
        if kind:
            return [self.folder / f"{kind}.npy"]
        return sorted(path for path in self.folder.glob("*.npy") if path.name != "labels.npy")

    def missing(self) -> str:
        """The first missing file."""
        if self.name.endswith(":labels"):
            return "labels is no kind of corruption"
        paths = [self.folder / "labels.npy", *self.kinds()]
        absent = next((f"{path} is not there" for path in paths if not path.is_file()), "")
        return absent or ("" if len(paths) > 1 else f"{self.folder} has no images") or self.clean().missing()

    def hint(self) -> str:
        """How to get it."""
        return f"unpack the authors' CIFAR-10-C.tar in {self.root}; {self.clean().hint()}"

    def clean(self) -> Source:
        """CIFAR-10."""
        return dataset_source(CLEAN, self.root)

    @property
    def memory(self) -> Path:
        """The file that remembers the digests of the files."""
        return prepared.cache_path(self.root, f"{self.name}{digests.ENDING}")

    def prepared_files(self) -> list[Path]:
        """The remembered digests."""
        return [self.memory]

    def digest(self) -> str:
        """Digest of the names and contents of the files; empty where they are missing."""
        if self.missing():
            return ""
        paths = [self.folder / "labels.npy", *self.kinds()]
        size, names = sum(path.stat().st_size for path in paths), [path.name for path in paths]
        report = partial(self.report, f"reading {self.folder.name}", total=len(paths))
        return prepared.digest_of(*names, *digests.digests_of_files(self.folder, names, size, self.memory, report))

    def load(self) -> Dataset:
        """Read the images of every kind, in the order of their names."""
        labels = self.read(self.folder / "labels.npy")
        images = [self.read(path) for path in self.kinds()]
        clean = load_dataset(CLEAN, self.root)
        for path, some in zip(self.kinds(), images, strict=True):
            if some.dtype != np.uint8 or some.shape != (len(labels), clean.side, clean.side, 3):
                raise self.damaged(path, f"it has {some.dtype} of shape {some.shape}, not {len(labels)} images")
        test = Split(
            np.concatenate([rows_of_planes(some) for some in images]), np.tile(labels.astype(np.int64), len(images))
        )
        return replace(clean, name=self.name, test=test)

    def read(self, path: Path) -> np.ndarray:
        """An array from a file.

        Raises:
            DataMissing: it is damaged.
        """
        try:
            array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise self.damaged(path, str(error)) from error
        return array
