"""A cache of decoded images: arrays on disk that runs map into memory.

The arrays lie under ``<root>/prepared``; their names end in a key that changes when the content of the original files
does. Everything
in that folder can be deleted at any time and is written again when needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from protocols.datasets.base import rows_of_planes
from protocols.spec.execution import available_cores
from protocols.spec.run import shortened
from results import seal
from results.errors import DamagedFile, DataMissing, ForeignFile
from results.files import require_file
from results.store import read_json, remove, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from PIL.Image import Image

    ArrayShape = tuple[int, int, int, int]

log = logging.getLogger(__name__)

FOLDER = "prepared"
VERSION = 1
"""To be increased when the same files are decoded to other pixels."""

ALWAYS_CHECKED = 2**30
"""Bytes up to which an array is compared with its checksum whenever it is opened; larger ones when they changed."""

LONGEST_NAME = 120
"""Bytes of the name of a file of the cache; its temporary name is longer, and file systems allow 255."""

CHUNK = 512
"""Images read at a time."""

IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class File(NamedTuple):
    """An image file: its path below the scanned folder, size in bytes, and time of the last change in ns.

    Its representation is part of the keys of the cache: a new name of class or field would decode everything again.
    """

    path: str
    size: int
    changed: int


def scan(folder: Path, *, below: str = "") -> Iterator[File]:
    """Image files in a folder and its subfolders, in no particular order; hidden files are skipped.

    Args:
        folder: to search.
        below: prefix of the returned paths.

    Raises:
        DataMissing: a folder cannot be read, or a link is broken.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from scan(folder / entry.name, below=f"{below}{entry.name}/")
                elif entry.name.lower().endswith(IMAGES):
                    stat = require_file(folder / entry.name)
                    yield File(f"{below}{entry.name}", stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataMissing(f"cannot read {error.filename}: {error.strerror}") from error


def describe_left_out(folder: Path) -> str:
    """How many files below a folder :func:`scan` leaves out, by the ends of their names; empty if there are none."""
    counts = Counter[str]()
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = (name for name in folders if not name.startswith("."))
        visible = (name.lower() for name in files if not name.startswith("."))
        counts.update(Path(name).suffix or "no ending" for name in visible if not name.endswith(IMAGES))
    found = ", ".join(f"{ending} {count:,}" for ending, count in sorted(counts.items()))
    return f"{counts.total():,} files are no images that bench reads: {found}" if found else ""


def digest_of(*values: object) -> str:
    """Digest of values, twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(f"{value!r}\n".encode())
    return digest.hexdigest()[:12]


def array_path(root: Path, name: str, side: int, *originals: object) -> Path:
    """Path of the cached array of images of a side; it differs if what identifies the original files does."""
    return cache_path(root, f"{name}-{side}px-{digest_of(VERSION, side, *originals)}.npy")


def cache_path(root: Path, name: str) -> Path:
    """Path of a file of the cache, whose name is made safe and short."""
    return root / FOLDER / shortened(re.sub(r"[^\w.-]+", "_", name), LONGEST_NAME)


def load_or_write(path: Path, shape: ArrayShape, read: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Map the array at ``path`` into memory, after writing it if there is none, or it is damaged.

    Args:
        path: of the array; if it cannot be written the array stays in memory, and a warning is logged.
        shape: of the whole array.
        read: returns the array in C-contiguous uint8 chunks along its first axis.

    Raises:
        DataMissing: ``read`` raises it.
    """
    try:
        return open_memmap(path, shape)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (DamagedFile, ForeignFile) as error:
        log.warning("%s; it is written again", error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(path)
        write_atomically(path, lambda temporary: write_array(temporary, path.stem, shape, read()))
        return open_memmap(path, shape)
    except OSError as error:
        log.warning("cannot write prepared images to %s (%s): they stay in memory", path.parent, error.strerror)
        return concatenate_chunks(shape, read())


def open_memmap(path: Path, shape: ArrayShape) -> np.ndarray:
    """Map a cached array into memory, copy-on-write: writes do not reach the file, and torch accepts it as writable.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is damaged.
        ForeignFile: it holds other images.
    """
    stamp = path.stat()
    if stamp.st_size <= ALWAYS_CHECKED or not was_checked(path, stamp):
        if not seal.check(path, path.stem, is_plain_array):
            log.warning("%s is of an earlier version, without a checksum: accepted, and sealed from now on", path)
            with contextlib.suppress(OSError):
                seal.seal_earlier(path, path.stem)
        with contextlib.suppress(OSError):
            if stamp.st_size > ALWAYS_CHECKED:
                write_json(checked_path(path), {"stamp": stamp_of(path.stat())})
    try:
        array: np.ndarray = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from error
    if array.shape != shape:
        raise ForeignFile(f"{path} holds other images: its shape is {array.shape}, not {shape}")
    return array


def was_checked(path: Path, stamp: os.stat_result) -> bool:
    """Whether a large array was compared with its checksum, and not changed since."""
    try:
        return (read_json(checked_path(path)) or {}).get("stamp") == stamp_of(stamp)
    except DamagedFile:
        return False


def checked_path(path: Path) -> Path:
    """The file that says when a large array was last compared with its checksum."""
    return path.with_suffix(".checked")


def stamp_of(status: os.stat_result) -> list[int]:
    """Time of change in ns, size and inode."""
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def is_plain_array(path: Path) -> bool:
    """Whether a file is an array of uint8 in NumPy's format with nothing after it."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(array.dtype == np.uint8 and path.stat().st_size == array.offset + array.size)


def write_array(path: Path, owner: str, shape: ArrayShape, chunks: Iterable[np.ndarray]) -> None:
    """Write an array in NumPy's format chunk by chunk, and seal it."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.data)
    seal.seal(path, owner)


def concatenate_chunks(shape: ArrayShape, chunks: Iterable[np.ndarray]) -> np.ndarray:
    """Concatenate chunks in memory."""
    whole, done = np.empty(shape, np.uint8), 0
    for chunk in chunks:
        whole[done : done + len(chunk)] = chunk
        done += len(chunk)
    return whole


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes image files on all available cores.

    Attributes:
        paths: of the files.
        digests: of their content, see ``digests_of_files``.
        side: of the decoded images, in pixels.
        resize: whether files of another size are resized or refused.
        report: called with the number of decoded images.
    """

    paths: Sequence[Path]
    digests: Sequence[str]
    side: int
    resize: bool
    report: Callable[[int], None]

    def __call__(self) -> Iterator[np.ndarray]:
        """Decode the files, a chunk at a time.

        Yields:
            (≤ CHUNK, side, 3, side) uint8, in the order of ``paths``.

        Raises:
            DataMissing: a file is damaged, of another size, of more than 8 bits a channel, or was changed meanwhile.
        """

        def decode(path: Path, digest: str) -> np.ndarray:
            return decode_image(path, self.side, resize=self.resize, digest=digest)

        with ThreadPoolExecutor(available_cores()) as pool:
            for start in range(0, len(self.paths), CHUNK):
                paths, contents = (some[start : start + CHUNK] for some in (self.paths, self.digests))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow warns of large images and of transparent palettes
                    images = list(pool.map(decode, paths, contents))
                yield rows_of_planes(np.stack(images))
                self.report(start + len(paths))


def decode_image(path: Path, side: int, *, resize: bool, digest: str = "") -> np.ndarray:
    """Decode an image file to (side, side, 3) uint8; resizing takes the largest centred square, bicubic.

    Args:
        path: of the file.
        side: of the decoded image, in pixels.
        resize: whether an image of another size is resized or refused.
        digest: that its content must have, see ``digests_of_files``; any if empty.

    Raises:
        DataMissing: it is damaged, of another size, of more than 8 bits a channel, or its content has another digest.
    """
    from PIL import Image, ImageOps

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataMissing(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest()[: len(digest)] != digest:
        raise DataMissing(f"{path} was changed while the images were read", hint="repeat the command")
    with open_image(path, io.BytesIO(content)) as image:
        if image.mode[0] in "IF":
            raise DataMissing(f"{path} has more than 8 bits a channel", hint="convert it to 8 bits")
        width, height = image.size
        if width == height == side:
            return np.asarray(image.convert("RGB"))
        if not resize:
            raise DataMissing(f"{path} is {width}×{height}, not {side}×{side}", hint="folder:PATH@SIDE resizes to SIDE")
        image.draft(None, (2 * side, 2 * side))  # lets the JPEG decoder work at reduced resolution
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its first bytes.

    Raises:
        DataMissing: it is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_image(path) as image:
            return image.size


@contextlib.contextmanager
def open_image(path: Path, content: BinaryIO | None = None) -> Iterator[Image]:
    """Open an image file, or its content where that was read before.

    Raises:
        DataMissing: it is damaged, or larger than Pillow opens.
    """
    from PIL import Image

    try:
        with Image.open(content or path) as image:
            yield image
    except DataMissing:
        raise
    except Image.DecompressionBombError as error:
        size = str(error).partition(", could")[0]
        raise DataMissing(f"{path} is too large: {size}", hint="make it smaller, or remove it") from error
    except Exception as error:  # Pillow raises a dozen kinds for files it cannot read
        why = " ".join(str(error).replace(repr(content), "it").split())
        raise DataMissing(f"{path} is damaged: {why}", hint="replace it, or remove it from the folder") from error
