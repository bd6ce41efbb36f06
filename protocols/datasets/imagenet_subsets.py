"""Subsets of ImageNet at low resolution: Tiny ImageNet and SlimageNet64."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from protocols.datasets.fetched import in_one_line
from protocols.datasets.image_folders import ImageFolders, Listing
from protocols.datasets.prepared import scan
from protocols.spec.plugins import register_dataset
from results.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from protocols.datasets.base import Triple


class ImageNetSubset(ImageFolders):
    """Base class: 64×64 pixels, and the normalisation of Patacchiola & Storkey 2020."""

    @property
    def side(self) -> int:
        """Side of the images in pixels."""
        return 64

    def normalisation(self, images: np.ndarray) -> tuple[Triple, Triple]:  # noqa: ARG002 - the base class measures them
        """Mean and standard deviation of the channels, fixed."""
        return (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@register_dataset("tiny_imagenet")
class TinyImageNet(ImageNetSubset):
    """Tiny ImageNet: 200 classes of ImageNet, 100,000 + 10,000 of 64×64; the official val split is the test split.

    Stanford CS231n; the labels of its own test split are not public. In the layout of the original archive (labels of
    val in ``val_annotations.txt``), or with the val images sorted into a folder a class.
    """

    counts: ClassVar = {"train": 100_000, "val": 10_000}
    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"

    @property
    def folder(self) -> Path:
        """The folder in the original archive."""
        return self.root / "tiny-imagenet-200"

    @property
    def test(self) -> str:
        """The split with public labels."""
        return "val"

    def download(self) -> None:
        """Download, verify and extract the original archive.

        Raises:
            OSError: no connection, no disk space, no working torchvision, or the archive is damaged.
        """
        with in_one_line(f"cannot download {self.name}"):
            from torchvision.datasets.utils import download_and_extract_archive

            download_and_extract_archive(self.url, str(self.root), md5=self.md5)

    def class_names(self) -> tuple[str, ...]:
        """The WordNet names in ``words.txt``, or WordNet numbers where a name is missing."""
        lines = read_table(self.folder / "words.txt")
        names_by_number = {number: names.partition(",")[0] for number, names, *_ in lines}
        return tuple(names_by_number.get(number, number) for number in self.classes)

    def listing(self, split: str) -> Listing:
        """The images of a split; of val in the original layout sorted by name, with labels from the annotations."""
        images = self.folder / split / "images"
        if not images.is_dir() or not (files := sorted(scan(images, below="images/"))):
            return super().listing(split)
        labels = {f"images/{name}": self.label(number) for name, number, *_ in self.annotations}
        unlabelled = [file.path for file in files if file.path not in labels]
        if unlabelled:
            raise DataMissing(f"val_annotations.txt has no label for {unlabelled[0]}", hint=self.hint())
        return Listing(files, np.array([labels[file.path] for file in files], np.int64))

    @cached_property
    def annotations(self) -> list[list[str]]:
        """File name and WordNet number of every val image."""
        return read_table(self.folder / "val" / "val_annotations.txt")

    def label(self, number: str) -> int:
        """The label of a WordNet number."""
        if number not in self.classes:
            raise DataMissing(f"val_annotations.txt names {number}, which is missing in train", hint=self.hint())
        return self.classes.index(number)


def read_table(path: Path) -> list[list[str]]:
    """Lines of a tab-separated file, those with one column left out; empty if there is no file."""
    if not path.is_file():
        return []
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if len(row) > 1]


@register_dataset("slimagenet64")
class SlimageNet64(ImageNetSubset):
    """SlimageNet64: the 1,000 classes of ImageNet, 160 train images each, 64×64; fetched by hand.

    Antoniou et al. 2020. The archive does not split its 200 images a class; put 160 of each under ``train`` and the
    others under ``test``; Patacchiola & Storkey 2020 use this split without naming the images.
    """

    counts: ClassVar = {"train": 160_000}

    @property
    def folder(self) -> Path:
        """The folder name used by the authors."""
        return self.root / "SlimageNet64"

    def hint(self) -> str:
        """Where to download it, and the folders to put it in."""
        return (
            "fetch it from https://zenodo.org/record/3672132, put it into "
            f"{self.folder}/train/CLASS/* and test/CLASS/*, then run: bench data {self.name} --data {self.root}"
        )
