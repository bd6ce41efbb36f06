"""ImageNet-1k and ImageNet-100 at 256 pixels or a side of your choice."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from protocols.datasets.image_folders import ImageFolders, subfolders
from protocols.datasets.prepared import scan
from protocols.spec.plugins import register_dataset
from results.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from protocols.datasets.base import Triple

DEFAULT_SIDE = 256
"""Pixels of the stored images: the short side that ImageNet is resized to by convention, before 224 are cropped."""

FOLDERS = ("imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
"""Where it is looked for below the data folder; the last is the layout of Kaggle's archive."""

CLASSES_OF_IMAGENET_100 = """
n01558993 n01692333 n01729322 n01735189 n01749939 n01773797 n01820546 n01855672 n01978455 n01980166 n01983481 n02009229
n02018207 n02085620 n02086240 n02086910 n02087046 n02089867 n02089973 n02090622 n02091831 n02093428 n02099849 n02100583
n02104029 n02105505 n02106550 n02107142 n02108089 n02109047 n02113799 n02113978 n02114855 n02116738 n02119022 n02123045
n02138441 n02172182 n02231487 n02259212 n02326432 n02396427 n02483362 n02488291 n02701002 n02788148 n02804414 n02859443
n02869837 n02877765 n02974003 n03017168 n03032252 n03062245 n03085013 n03259280 n03379051 n03424325 n03492542 n03494278
n03530642 n03584829 n03594734 n03637318 n03642806 n03764736 n03775546 n03777754 n03785016 n03787032 n03794056 n03837869
n03891251 n03903868 n03930630 n03947888 n04026417 n04067472 n04099969 n04111531 n04127249 n04136333 n04229816 n04238763
n04336792 n04418357 n04429376 n04435653 n04485082 n04493381 n04517823 n04589890 n04592741 n07714571 n07715103 n07753275
n07831146 n07836838 n13037406 n13040303
"""
"""The 100 classes of Tian, Krishnan & Isola 2020, in ``imagenet100.txt`` of their code (github.com/HobbitLong/CMC)."""


@register_dataset("imagenet")
class ImageNet(ImageFolders):
    """ImageNet-1k: 1,000 classes, 1,281,167 + 50,000 photographs, stored at 256×256; the val split is the test split.

    Russakovsky et al. 2015; fetched by hand. Read from imagenet/train/WNID/* and imagenet/val/WNID/* below the data
    folder (or ILSVRC2012, or ILSVRC/Data/CLS-LOC). imagenet:SIDE stores SIDE×SIDE. The short side is resized, without
    distortion, and the centred square is stored: of a photograph of 500×375, a quarter at the two ends is lost to crops
    in pretraining. Prepared once, in 252 GB at 256 pixels (193 GB at 224). Normalisation: that of torchvision's models.
    """

    argument = "[SIDE]"
    counts: ClassVar = {"train": 1_281_167, "val": 50_000}
    by_torchvision = True

    @cached_property
    def folder(self) -> Path:
        """The first folder of ``FOLDERS`` that is there, else the first."""
        return self.first_folder(FOLDERS)

    def first_folder(self, names: tuple[str, ...]) -> Path:
        """The first of several folders below the data folder that is there, else the first."""
        folders = [self.root / name for name in names]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    @cached_property
    def side(self) -> int:
        """Side of the stored images in pixels.

        Raises:
            RequestError: what follows the colon is no such number.
        """
        name, colon, side = self.name.partition(":")
        if not colon:
            return DEFAULT_SIDE
        if not (re.fullmatch(r"[0-9]{1,4}", side) and 8 <= int(side) <= 1024):
            raise RequestError(f"{self.name}: {side!r} is no side in pixels", hint=f"write {name}:224; 8 to 1024")
        return int(side)

    @property
    def resize(self) -> bool:
        """Images are resized."""
        return True

    @property
    def test(self) -> str:
        """The split with public labels."""
        return "val"

    def normalisation(self, images: np.ndarray) -> tuple[Triple, Triple]:  # noqa: ARG002 - the base class measures them
        """Mean and standard deviation of the channels, fixed."""
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def missing(self) -> str:
        """The first missing folder, or that the val images are not sorted into classes.

        Raises:
            RequestError: what follows the colon is no side.
        """
        _ = self.side
        if missing := super().missing():
            return missing
        val = self.folder / self.test
        if not subfolders(val) and next(scan(val), None):
            return f"the images in {val} are not sorted into a folder a class"
        return ""

    def hint(self) -> str:
        """Where to get it, and the folders to put it in."""
        return (
            f"get it from https://image-net.org, put it into {self.root / FOLDERS[0]}/train/WNID/* and val/WNID/*, "
            f"then run: bench data {self.name} --data {self.root}"
        )


@register_dataset("imagenet100")
class ImageNet100(ImageNet):
    """ImageNet-100: the 100 classes of Tian, Krishnan & Isola 2020 (CMC), 5,000 test images, stored at 256×256.

    Read from the folders of ``imagenet``, whose other classes are passed over, or from imagenet100/train/WNID/* and
    imagenet100/val/WNID/*. imagenet100:SIDE stores SIDE×SIDE. Prepared once, in 26 GB at 256 pixels. Papers differ in
    the classes that they call ImageNet-100: for others, use a folder of links to them as folder:PATH@SIDE.
    """

    argument = "[SIDE]"
    counts: ClassVar = {"val": 5_000}
    by_torchvision = True

    @cached_property
    def folder(self) -> Path:
        """The folder of its own if that is there, else that of ImageNet-1k."""
        return self.first_folder(("imagenet100", *FOLDERS))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """WordNet numbers, sorted: label 0, 1, …."""
        return tuple(sorted(CLASSES_OF_IMAGENET_100.split()))

    def class_folders(self, folder: Path) -> tuple[str, ...]:
        """Those of the 100 classes that a split has."""
        return tuple(name for name in subfolders(folder) if name in self.classes)

    def missing(self) -> str:
        """The first missing folder."""
        if missing := super().missing():
            return missing
        folders = (self.folder / split / name for split in ("train", self.test) for name in self.classes)
        return next((f"{folder} is not there" for folder in folders if not folder.is_dir()), "")
