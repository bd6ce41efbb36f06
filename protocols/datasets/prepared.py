"""Images that are slow to read, read once and kept as an array on disk that later runs map into memory.

The arrays lie under ``<root>/prepared``; a name there ends in a key that changes when the originals do. Everything in
that folder can be deleted at any time and is made again when needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from protocols.datasets.base import rows_of_planes
from protocols.spec.execution import available_cores
from results.errors import DataMissing
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from PIL.Image import Image

    Shape = tuple[int, int, int, int]

log = logging.getLogger(__name__)

FOLDER = "prepared"
VERSION = 1
"""Bumped by hand when the same originals come to be decoded to other pixels."""

CHUNK = 512
"""Images read at a time."""

IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class File(NamedTuple):
    """An image file: its path below the folder that was scanned, its size in bytes, when it last changed in ns."""

    path: str
    size: int
    changed: int


def scan(folder: Path, *, below: str = "") -> Iterator[File]:
    """The images in a folder and its subfolders, in no particular order; nothing whose name begins with a dot.

    Args:
        folder: to be searched.
        below: put before the paths of what is found.

    Raises:
        DataMissing: a folder cannot be read, or a link leads nowhere.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from scan(folder / entry.name, below=f"{below}{entry.name}/")
                elif entry.name.lower().endswith(IMAGES):
                    stat = entry.stat()
                    yield File(f"{below}{entry.name}", stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataMissing(f"cannot read {error.filename}: {error.strerror}") from error


def digest_of(*values: object) -> str:
    """Twelve hexadecimal digits that tell some values from others."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(f"{value!r}\n".encode())
    return digest.hexdigest()[:12]


def array_path(root: Path, name: str, side: int, *originals: object) -> Path:
    """Where images of a side are kept; another place if any of their originals differs in name, size or time."""
    words = re.sub(r"[^\w.-]+", "_", name)
    return root / FOLDER / f"{words}-{side}px-{digest_of(VERSION, side, *originals)}.npy"


def load_or_write(path: Path, shape: Shape, read: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Map the array at ``path`` into memory, written first if it is not there.

    Args:
        path: where it is kept; if that cannot be written the array stays in memory, and a warning is logged.
        shape: of the whole array.
        read: gives the array in C-contiguous uint8 chunks along its first axis.

    Raises:
        DataMissing: what lies at ``path`` is damaged, or ``read`` raises it.
    """
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda temporary: write(temporary, shape, read()))
    except OSError as error:
        log.warning("cannot keep prepared images in %s (%s): they stay in memory", path.parent, error.strerror)
        return collect(shape, read())
    return mapped(path, shape)


def mapped(path: Path, shape: Shape) -> np.ndarray:
    """Map a kept array into memory; what is written to it never gets to the file, and torch takes it without complaint.

    Raises:
        DataMissing: it is damaged.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="c")
        if array.shape == shape:
            return array
        why = f"its shape is {array.shape}, not {shape}"
    except (OSError, ValueError, EOFError) as error:
        why = str(error)
    raise DataMissing(f"{path} is damaged: {why}", hint="delete it; it is made again")


def write(path: Path, shape: Shape, chunks: Iterable[np.ndarray]) -> None:
    """Write an array in NumPy's format without ever holding it whole."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.data)


def collect(shape: Shape, chunks: Iterable[np.ndarray]) -> np.ndarray:
    """Put an array together in memory."""
    whole, done = np.empty(shape, np.uint8), 0
    for chunk in chunks:
        whole[done : done + len(chunk)] = chunk
        done += len(chunk)
    return whole


@dataclass(frozen=True)
class Decoding:
    """Image files, to be decoded on all available_cores.

    Attributes:
        paths: of the files.
        side: of the decoded images, in pixels.
        resize: whether files of another size are resized or refused.
        report: told how many images are done.
    """

    paths: Sequence[Path]
    side: int
    resize: bool
    report: Callable[[int], None]

    def __call__(self) -> Iterator[np.ndarray]:
        """Decode them, some at a time.

        Yields:
            (≤ CHUNK, side, 3, side) uint8, in the order of ``paths``.

        Raises:
            DataMissing: a file is damaged, of another size, or of more than 8 bits a channel.
        """
        one = partial(decode_one, side=self.side, resize=self.resize)
        with ThreadPoolExecutor(available_cores()) as pool:
            for start in range(0, len(self.paths), CHUNK):
                some = self.paths[start : start + CHUNK]
                yield rows_of_planes(np.stack(list(pool.map(one, some))))
                self.report(start + len(some))


def decode_one(path: Path, side: int, *, resize: bool) -> np.ndarray:
    """Decode an image file to (side, side, 3) uint8; to resize is to take the largest centred square, bicubic.

    Raises:
        DataMissing: it is damaged, of another size, or of more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    with opened(path) as image:
        if image.mode[0] in "IF":
            raise DataMissing(f"{path} has more than 8 bits a channel", hint="convert it to 8 bits")
        width, height = image.size
        if width == height == side:
            return np.asarray(image.convert("RGB"))
        if not resize:
            raise DataMissing(f"{path} is {width}×{height}, not {side}×{side}", hint="folder:PATH@SIDE resizes to SIDE")
        image.draft(None, (2 * side, 2 * side))  # lets the JPEG decoder leave out what would be thrown away
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its first bytes.

    Raises:
        DataMissing: it is damaged.
    """
    with opened(path) as image:
        return image.size


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image]:
    """An image file, opened.

    Raises:
        DataMissing: it turns out to be damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except DataMissing:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for files it cannot read
        why = " ".join(str(error).split())
        raise DataMissing(f"{path} is damaged: {why}", hint="replace it, or take it out of the folder") from error
