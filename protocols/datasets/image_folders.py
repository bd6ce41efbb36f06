"""Data sets in folders of image files, one folder per class; any such folder can be used as ``folder:PATH``."""

from __future__ import annotations

import contextlib
import logging
import re
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from protocols.datasets import digests, prepared
from protocols.datasets.base import Dataset, Source, Split
from protocols.datasets.prepared import File, scan
from protocols.spec.plugins import register_dataset
from results.errors import DataMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protocols.datasets.base import Triple

log = logging.getLogger(__name__)

UNLABELED = "unlabeled"


class Listing(NamedTuple):
    """The image files of a split, and (n,) int64 labels."""

    files: Sequence[File]
    labels: np.ndarray


class ImageFolders(Source):
    """Base class: files are listed at every load, and decoded at the first load only.

    Attributes:
        counts: the number of images that a split must have, where it is known.
        by_torchvision: how images are decoded and resized, see ``prepared.decode_image``.
    """

    counts: ClassVar[Mapping[str, int]] = {}
    by_torchvision: ClassVar[bool] = False

    @property
    def folder(self) -> Path:
        """The folder that contains the folders of the splits."""
        raise NotImplementedError

    @property
    def side(self) -> int:
        """Side of the images in pixels."""
        raise NotImplementedError

    @property
    def resize(self) -> bool:
        """Whether images of another size are resized; otherwise they are an error."""
        return False

    @property
    def test(self) -> str:
        """Name of the test split's folder."""
        return "test"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted: label 0, 1, …."""
        return subfolders(self.folder / "train")

    def class_folders(self, folder: Path) -> tuple[str, ...]:
        """Names of the class folders of a split's folder."""
        return subfolders(folder)

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes to show."""
        return self.classes

    def normalisation(self, images: np.ndarray) -> tuple[Triple, Triple]:
        """Mean and standard deviation of the channels of the train images."""
        return prepared.load_or_measure_statistics(images)

    def missing(self) -> str:
        """The first missing folder."""
        folders = (self.folder / split for split in ("train", self.test))
        return next((f"{folder} is not there" for folder in folders if not folder.is_dir()), "")

    def load(self) -> Dataset:
        """Decode the images, or map the array that an earlier load wrote.

        Raises:
            DataMissing: folders or images are missing, damaged, or of the wrong size.
        """
        self.require()
        train = self.split("train")
        mean, std = self.normalisation(train.images)
        return Dataset(
            name=self.name,
            classes=self.class_names(),
            mean=mean,
            std=std,
            train=train,
            test=self.split(self.test),
            unlabeled=self.split(UNLABELED) if (self.folder / UNLABELED).is_dir() else None,
        )

    def split(self, split: str) -> Split:
        """Decode a split, or map the array that an earlier load wrote.

        Raises:
            DataMissing: it has too few images, or some are damaged or of the wrong size.
        """
        files, labels = self.listing(split)
        count = len(files)
        if not count or count != self.counts.get(split, count):
            expected = f"{self.counts[split]:,}" if split in self.counts else "some"
            raise DataMissing(f"{self.folder / split} holds {count:,} images, not {expected}", hint=self.hint())
        paths = [self.folder / split / file.path for file in files]
        contents = self.digests(split, files)
        task = f"decoding {self.folder.name}/{split}"
        report = partial(self.report, task, total=count)
        side, options = self.side, {"resize": self.resize, "by_torchvision": self.by_torchvision}

        def decode(number: int) -> np.ndarray:
            return prepared.decode_image(paths[number], side, digest=contents[number], **options)

        decoder = prepared.Decoder(count, side, decode, report)
        path = self.array_path(split, contents)
        return Split(prepared.load_or_write(path, (count, side, 3, side), decoder), labels)

    def listing(self, split: str) -> Listing:
        """The images of a split, sorted by class and path; those of ``unlabeled`` by path.

        Raises:
            DataMissing: a class folder is empty, or missing in the train split.
        """
        folder, no_labels = self.folder / split, np.empty(0, np.int64)
        if split == UNLABELED:
            files = sorted(scan(folder))
            return Listing(files, np.full(len(files), -1))
        found = {name: sorted(scan(folder / name, below=f"{name}/")) for name in self.class_folders(folder)}
        for name, files in found.items():
            if bool(files) != (name in self.classes):
                problem = "is not a class of the train split" if files else "holds no images"
                raise DataMissing(f"{folder / name} {problem}", hint=self.hint())
        labels = [np.full(len(files), self.classes.index(name)) for name, files in found.items() if files]
        return Listing([file for files in found.values() for file in files], np.concatenate([*labels, no_labels]))

    def array_path(self, split: str, contents: Sequence[str]) -> Path:
        """Where the decoded images of a split are cached, given the digests of its files."""
        decoder = ["torchvision"] if self.by_torchvision else []
        originals = (self.resize, *decoder, *contents)
        return prepared.array_path(self.root, f"{self.folder.name}-{split}", self.side, *originals)

    def memory_path(self, split: str) -> Path:
        """Where the digests of a split's files are remembered."""
        key = prepared.digest_of(str((self.folder / split).resolve()))
        return prepared.cache_path(self.root, f"{self.folder.name}-{split}-{key}{digests.ENDING}")

    def prepared_files(self) -> list[Path]:
        """The decoded images and the remembered digests of every split.

        Raises:
            DataMissing: it is missing or damaged.
        """
        self.require()
        files = []
        for split in self.splits():
            array = self.array_path(split, self.digests(split, self.listing(split).files))
            files += [*prepared.array_files(array), self.memory_path(split)]
        return files

    def digests(self, split: str, files: Sequence[File]) -> list[str]:
        """Digests of the content of a split's files.

        Raises:
            DataMissing: a file cannot be read, or is being written.
        """
        folder, size = self.folder / split, sum(file.size for file in files)
        report = partial(self.report, f"reading {self.folder.name}/{split}", total=len(files))
        paths = [file.path for file in files]
        return digests.digests_of_files(folder, paths, size, self.memory_path(split), report)

    def splits(self) -> list[str]:
        """Names of the splits that are there."""
        return [split for split in ("train", self.test, UNLABELED) if (self.folder / split).is_dir()]

    def digest(self) -> str:
        """Digest of the names and contents of all files, and of the side that images are resized to.

        Empty where folders are missing: no run can be made of those.
        """
        if ImageFolders.missing(self):
            return ""
        listings = {split: self.listing(split).files for split in self.splits()}
        entries = (
            (split, file.path, content)
            for split, files in listings.items()
            for file, content in zip(files, self.digests(split, files), strict=True)
        )
        return prepared.digest_of(*entries, *([self.side] if self.resize else []))

    def earlier_digest(self) -> str:
        """The digest of earlier versions, which knew such a data set by its name alone."""
        return ""


def subfolders(folder: Path) -> tuple[str, ...]:
    """Names of the subfolders, sorted; hidden folders are skipped."""
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


@register_dataset("folder")
class Folder(ImageFolders):
    """Your own images: folder:PATH[@SIDE] with PATH/train/CLASS/*, PATH/test/CLASS/* (or val), PATH/unlabeled/*.

    Files named .bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff or .webp, also in subfolders; others are counted. The
    test split is ``test`` where it has class folders or there is no ``val``, else ``val``. Self-supervised methods
    pretrain on ``unlabeled`` where there is such a folder, else on ``train``. With ``@SIDE`` the largest centred square
    of every image is resized to SIDE×SIDE; without it all images must be squares of one size already, because nothing
    is resized by default. A relative PATH is looked up in the working directory, then in the data folder.
    Normalisation is measured on the train split. As in torchvision, EXIF orientation is ignored.
    """

    argument = "PATH[@SIDE]"

    @cached_property
    def path_and_side(self) -> tuple[Path, int | None]:
        """PATH, and SIDE or None."""
        argument = self.name.partition(":")[2]
        path, at, side = argument.rpartition("@")
        is_side = at and re.fullmatch(r"[0-9]{1,9}", side) and int(side)
        if not is_side or self.located(argument).is_dir():
            return Path(argument), None
        return Path(path), int(side)

    def located(self, argument: str) -> Path:
        """A folder, relative to the working directory or to the data folder."""
        path = Path(argument)
        with contextlib.suppress(RuntimeError):  # there is no home
            path = path.expanduser()
        return path if path.is_dir() else self.root / path

    @cached_property
    def folder(self) -> Path:
        """PATH, relative to the working directory or to the data folder."""
        return self.located(str(self.path_and_side[0]))

    @cached_property
    def side(self) -> int:
        """SIDE, or the width of an image.

        Raises:
            DataMissing: the image is damaged.
        """
        return self.path_and_side[1] or prepared.image_size(self.example)[0]

    @property
    def resize(self) -> bool:
        """Whether SIDE is given."""
        return self.path_and_side[1] is not None

    @property
    def test(self) -> str:
        """``test`` where it has class folders or there is no ``val``, else ``val``."""
        test = self.folder / "test"
        has_val = (self.folder / "val").is_dir()
        return "test" if test.is_dir() and (subfolders(test) or not has_val) else "val"

    @cached_property
    def example(self) -> Path:
        """One training image; the train folder itself if it has none."""
        train = self.folder / "train"
        return next((train / file.path for file in scan(train)), train)

    def missing(self) -> str:
        """The first missing folder, or why the images cannot be used."""
        if not self.folder.is_dir():
            return f"{self.folder} is not there"
        return super().missing() or self.why_unusable()

    def why_unusable(self) -> str:
        """Why the images cannot be used, judged by one of them; empty if they can."""
        if self.example.is_dir():
            left_out = prepared.describe_left_out(self.example)
            return f"{self.example} holds no images{f'; {left_out}' if left_out else ''}"
        if self.resize:
            return ""
        width, height = prepared.image_size(self.example)
        return f"{self.example} is {width}×{height}, not square" if width != height else ""

    def load(self) -> Dataset:
        """Decode the images; a warning counts the files beside them that are none."""
        dataset = super().load()
        for folder in (self.folder / split for split in ("train", self.test, UNLABELED)):
            if left_out := prepared.describe_left_out(folder):
                log.warning("%s: %s", folder, left_out)
        return dataset

    def hint(self) -> str:
        """The required layout of the folders."""
        return "folder:PATH needs PATH/train/CLASS/* and PATH/test/CLASS/* (or val); folder:PATH@64 resizes to 64×64"

    def earlier_digest(self) -> str:
        """The digest of earlier versions: of the names and sizes of all files, and of the side."""
        entries = ((split, file.path, file.size) for split in self.splits() for file in self.listing(split).files)
        return prepared.digest_of(*entries, *([self.side] if self.resize else []))
