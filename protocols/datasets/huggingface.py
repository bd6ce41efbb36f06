"""Data sets of Hugging Face's library ``datasets``, which has to be installed."""

from __future__ import annotations

import contextlib
import re
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.datasets import digests, prepared
from protocols.datasets.base import Dataset, Source, Split
from protocols.datasets.fetched import in_one_line
from protocols.spec.plugins import register_dataset
from results.errors import DataMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "hf"
"""Folder below the data folder that data sets of the Hub are stored in."""

TRAIN, TESTS = "train", ("test", "validation", "valid", "val")
"""Names of the split for training, and of that for testing, of which the first that is there is taken."""


@register_dataset("hf")
class HuggingFace(Source):
    """A data set of Hugging Face: hf:NAME[@SIDE], from its Hub by bench data, or a folder that save_to_disk wrote.

    Needs ``pip install 'ssl-bench[huggingface]'``. It has a column of images, and one of class labels: ``label``, or
    the only one. Splits: ``train``, and ``test`` or ``validation``. With ``@SIDE`` the largest centred square of every
    image is resized to SIDE×SIDE; without it all images must be squares of one size. Normalisation is measured on the
    train split.
    """

    argument = "NAME[@SIDE]"

    @cached_property
    def name_and_side(self) -> tuple[str, int | None]:
        """NAME, and SIDE or None."""
        argument = self.name.partition(":")[2]
        name, at, side = argument.rpartition("@")
        is_side = bool(at and re.fullmatch(r"[0-9]{1,9}", side) and int(side))
        return (name, int(side)) if is_side else (argument, None)

    @cached_property
    def folder(self) -> Path:
        """The folder that ``save_to_disk`` wrote: NAME, that in the data folder, or where the Hub's is stored."""
        name = self.name_and_side[0]
        stored = self.root / FOLDER / name.replace("/", "--")
        return next((path for path in (Path(name), self.root / name) if (path / "dataset_dict.json").is_file()), stored)

    def missing(self) -> str:
        """That the library is missing, or the data."""
        if not is_installed():
            return "the package datasets is not installed"
        if not (self.folder / "dataset_dict.json").is_file():
            return f"{self.folder} is not there"
        return ""

    def hint(self) -> str:
        """How to get the library, or the data."""
        if not is_installed():
            return "pip install 'ssl-bench[huggingface]'"
        return f"run: bench data {self.name} --data {self.root}"

    def download(self) -> None:
        """Download it from the Hub, and store it in the data folder.

        Raises:
            OSError: it cannot be downloaded.
        """
        if not is_installed():
            super().download()
        with in_one_line(f"cannot download {self.name}"):
            import datasets

            loaded = datasets.load_dataset(self.name_and_side[0])
            loaded.save_to_disk(str(self.folder))

    @cached_property
    def splits(self) -> dict[str, Any]:
        """The tables of both splits by name, with images that are not decoded.

        Raises:
            DataMissing: it cannot be read, or lacks a split or a column.
        """
        import datasets

        try:
            tables = datasets.load_from_disk(str(self.folder))
        except Exception as error:  # of several libraries
            raise DataMissing(f"cannot read {self.folder}: {' '.join(str(error).split())}") from error
        test = next((name for name in TESTS if name in tables), "")
        if TRAIN not in tables or not test:
            raise DataMissing(
                f"{self.name} has the splits {', '.join(tables)}",
                hint=f"it needs {TRAIN}, and one of {', '.join(TESTS)}",
            )
        columns = self.columns(tables[TRAIN].features)
        chosen = {name: tables[name].select_columns(columns) for name in (TRAIN, test)}
        return {name: table.cast_column(columns[0], datasets.Image(decode=False)) for name, table in chosen.items()}

    def columns(self, features: Mapping[str, Any]) -> list[str]:
        """The column of images, and that of labels.

        Raises:
            DataMissing: it is not clear which they are.
        """
        import datasets

        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
        if "label" in labels:
            labels = ["label"]
        if len(images) != 1 or len(labels) != 1:
            raise DataMissing(
                f"{self.name} has {len(images)} columns of images and {len(labels)} of class labels",
                hint="save one with one of each, or call its labels label",
            )
        return [*images, *labels]

    @property
    def test(self) -> str:
        """Name of the split for testing."""
        return next(name for name in self.splits if name != TRAIN)

    @cached_property
    def side(self) -> int:
        """SIDE, or the width of the first image."""
        side = self.name_and_side[1]
        if side is not None:
            return side
        import io

        image, _ = self.columns(self.splits[TRAIN].features)
        name = Path(f"{self.name}/{TRAIN}/0")
        with prepared.open_image(name, io.BytesIO(content_of(self.splits[TRAIN][0][image], name))) as opened:
            return opened.width

    def load(self) -> Dataset:
        """Decode the images, or map the array that an earlier load wrote.

        Raises:
            DataMissing: it is missing, an image is damaged or of another size, or a label is missing.
        """
        self.require()
        _, label = self.columns(self.splits[TRAIN].features)
        train = self.split(TRAIN)
        mean, std = prepared.load_or_measure_statistics(train.images)
        classes = tuple(self.splits[TRAIN].features[label].names)
        return Dataset(self.name, classes, mean, std, train, self.split(self.test))

    def split(self, split: str) -> Split:
        """Decode a split, or map the array that an earlier load wrote."""
        table, side, resize = self.splits[split], self.side, self.name_and_side[1] is not None
        image, label = self.columns(table.features)
        hint = f"{self.name}@SIDE resizes to SIDE"

        def decode(number: int) -> np.ndarray:
            name = Path(f"{self.name}/{split}/{number}")
            content = content_of(table[number][image], name)
            return prepared.decode_content(content, name, side, resize=resize, by_torchvision=True, hint=hint)

        report = partial(self.report, f"decoding {self.name}/{split}", total=len(table))
        decoder = prepared.Decoder(len(table), side, decode, report)
        images = prepared.load_or_write(self.array_path(split), (len(table), side, 3, side), decoder)
        labels = np.array([-1 if one is None else one for one in table[label]], np.int64)
        return Split(images, labels)

    def array_path(self, split: str) -> Path:
        """Where the decoded images of a split are cached."""
        resize = self.name_and_side[1] is not None
        return prepared.array_path(self.root, f"hf-{self.folder.name}-{split}", self.side, resize, *self.contents)

    def prepared_files(self) -> list[Path]:
        """The decoded images of both splits, and the remembered digests."""
        self.require()
        arrays = [file for split in self.splits for file in prepared.array_files(self.array_path(split))]
        return [*arrays, self.memory_path]

    @property
    def memory_path(self) -> Path:
        """Where the digests of its files are remembered."""
        key = prepared.digest_of(str(self.folder.resolve()))
        return prepared.cache_path(self.root, f"hf-{self.folder.name}-{key}{digests.ENDING}")

    @cached_property
    def contents(self) -> list[str]:
        """Digests of the content of its files.

        Raises:
            DataMissing: a file cannot be read, or is being written.
        """
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
        names, size = [str(path.relative_to(self.folder)) for path in paths], sum(path.stat().st_size for path in paths)
        report = partial(self.report, f"reading {self.name}", total=len(paths))
        return digests.digests_of_files(self.folder, names, size, self.memory_path, report)

    def digest(self) -> str:
        """Digest of the content of its files, and of the side that images are resized to; empty where it is missing."""
        return "" if self.missing() else prepared.digest_of(*self.contents, self.name_and_side[1])


def is_installed() -> bool:
    """Whether the library can be imported; does not import it."""
    import importlib.util

    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec("datasets") is not None
    return False


def content_of(cell: Any, name: Path) -> bytes:
    """The content of the file of an image that is not decoded.

    Raises:
        DataMissing: there is none, or it cannot be read.
    """
    if cell is None or (cell["bytes"] is None and not cell["path"]):
        raise DataMissing(f"{name} has no image")
    try:
        return bytes(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except OSError as error:
        raise DataMissing(f"cannot read {name}: {error.strerror}") from error
