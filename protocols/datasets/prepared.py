"""A cache of decoded images: arrays on disk that runs map into memory.

The arrays lie under ``<root>/prepared``; their names end in a key that changes when the content of the original files
does. Everything in that folder can be deleted at any time and is written again when needed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import logging
import math
import os
import re
import shutil
import struct
import warnings
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from protocols.datasets.base import statistics, triple
from protocols.spec.execution import available_cores
from protocols.spec.run import shortened
from results import seal
from results.errors import DamagedFile, DataMissing, ForeignFile
from results.files import require_file
from results.store import locked, read_json, remove, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from PIL.Image import Image
    from torch import Tensor

    from protocols.datasets.base import Triple

    ArrayShape = tuple[int, int, int, int]

log = logging.getLogger(__name__)

FOLDER = "prepared"
VERSION = 1
"""To be increased when the same files are decoded to other pixels."""

ALWAYS_CHECKED = 2**30
"""Bytes up to which an array is compared with its checksum whenever it is opened; larger ones when they changed."""

ARRAY, CHECKED, STATISTICS = ".npy", ".checked", ".statistics"
"""Endings of an array, of the stamp of when it was checked, and of the mean and deviation of its channels."""

UNFINISHED = (".partial", ".progress", ".lock")
"""Endings of an array that is being written, of how much of it is, and of the file that its writer locks."""

LONGEST_NAME = 120
"""Bytes of the name of a file of the cache; its temporary name is longer, and file systems allow 255."""

CHUNK = 512
"""Images read at a time."""

IMAGES_PER_TASK = 16
"""Images that a thread decodes in a row: one at a time costs a tenth more."""

JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of the frame headers of baseline, extended and progressive JPEGs."""

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
    """How many files below a folder :func:`scan` leaves out, by the ends of their names; empty if there are none.

    A folder that is called like an image is named too.
    """
    counts, called_images = Counter[str](), list[str]()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = (name for name in folders if not name.startswith("."))
        called_images += (f"{parent}/{name}" for name in folders if name.lower().endswith(IMAGES))
        visible = (name.lower() for name in files if not name.startswith("."))
        counts.update(Path(name).suffix or "no ending" for name in visible if not name.endswith(IMAGES))
    found = ", ".join(f"{ending} {count:,}" for ending, count in sorted(counts.items()))
    texts = [f"{counts.total():,} files are no images that bench reads: {found}"] if found else []
    texts += [f"{called_images[0]} is a folder"] if called_images else []
    return "; ".join(texts)


def digest_of(*values: object) -> str:
    """Digest of values, twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(f"{value!r}\n".encode())
    return digest.hexdigest()[:12]


def array_path(root: Path, name: str, side: int, *originals: object) -> Path:
    """Path of the cached array of images of a side; it differs if what identifies the original files does."""
    return cache_path(root, f"{name}-{side}px-{digest_of(VERSION, side, *originals)}{ARRAY}")


def cache_path(root: Path, name: str) -> Path:
    """Path of a file of the cache, whose name is made safe and short."""
    return root / FOLDER / shortened(re.sub(r"[^\w.-]+", "_", name), LONGEST_NAME)


def load_or_write(path: Path, shape: ArrayShape, read: Callable[[], Iterable[np.ndarray]] | Decoder) -> np.ndarray:
    """Map the array at ``path`` into memory, after writing it if there is none, or it is damaged.

    Args:
        path: of the array; if it cannot be written the array stays in memory, and a warning is logged.
        shape: of the whole array.
        read: returns the array in C-contiguous uint8 chunks along its first axis. What a ``Decoder`` had written
            before its process was killed is not decoded again.

    Raises:
        DataMissing: ``read`` raises it, or the array can neither be written nor stay in memory.
    """
    try:
        return open_memmap(path, shape)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (DamagedFile, ForeignFile) as error:
        log.warning("%s; it is written again", error)
        with contextlib.suppress(OSError):
            remove(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(read, Decoder):
            write_resumably(path, shape, read)
        else:
            write_atomically(path, lambda temporary: write_array(temporary, path.stem, shape, read()))
        return open_memmap(path, shape)
    except OSError as error:
        size = math.prod(shape)
        if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
            raise DataMissing(
                f"cannot write {size / 1e9:,.0f} GB of prepared images to {path.parent}: {error.strerror}",
                hint="make room there, or move the data folder to a larger disk and point --data to it",
            ) from error
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
        array: np.ndarray = np.lib.format.open_memmap(path, mode="c")  # np.load reads archives too
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


def array_files(path: Path) -> list[Path]:
    """An array, and all that may lie beside it; they need not exist."""
    return [path, *(path.with_suffix(end) for end in (CHECKED, STATISTICS, *UNFINISHED))]


def checked_path(path: Path) -> Path:
    """The file that says when a large array was last compared with its checksum."""
    return path.with_suffix(CHECKED)


def stamp_of(status: os.stat_result) -> list[int]:
    """Time of change in ns, size and inode."""
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def is_plain_array(path: Path) -> bool:
    """Whether a file is an array of uint8 in NumPy's format with nothing after it."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(array.dtype == np.uint8 and path.stat().st_size == array.offset + array.size)


def write_resumably(path: Path, shape: ArrayShape, decoder: Decoder) -> None:
    """Write and seal an array; after the process was killed, the next call goes on behind the last finished chunk.

    One process writes at a time, others wait for it. Until the array is complete it is called ``.partial``; how many
    of its images are on disk stands in ``.progress`` beside it.

    Raises:
        DataMissing: an image cannot be decoded; nothing is left behind, since without it the key is another.
        OSError: the array cannot be written, or the disk is too small for it.
    """
    partial_path, progress_path, lock = (path.with_suffix(end) for end in UNFINISHED)
    with locked(lock):
        if path.exists():  # another process wrote it meanwhile
            return
        done, digest = images_done(partial_path, progress_path, shape)
        needed = (shape[0] - done) * math.prod(shape[1:])
        if needed > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, f"{needed / 1e9:,.1f} GB are needed, and there is less room")
        try:
            with partial_path.open("r+b" if done else "wb") as file:
                file.write(header_of(shape))
                file.seek(done * math.prod(shape[1:]), os.SEEK_CUR)
                file.truncate()
                for chunk in decoder(done):
                    file.write(chunk.data)
                    file.flush()
                    os.fsync(file.fileno())
                    digest.update(chunk.data)
                    done += len(chunk)
                    write_json(progress_path, {"images": done, "content": digest.hexdigest()})
            seal.seal(partial_path, path.stem)
            with partial_path.open("rb") as file:
                os.fsync(file.fileno())
            partial_path.replace(path)
        except DataMissing:
            partial_path.unlink(missing_ok=True)
            raise
        finally:
            if not partial_path.exists():
                progress_path.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)


def images_done(partial_path: Path, progress_path: Path, shape: ArrayShape) -> tuple[int, hashlib._Hash]:
    """How many images of an unfinished array are on disk, and the digest of the array up to there.

    They are 0 if that is not known, or the file is not what was written.
    """
    header = header_of(shape)
    with contextlib.suppress(DamagedFile, OSError, KeyError, TypeError):
        progress, digest = read_json(progress_path) or {}, hashlib.sha256()
        done, left = progress["images"], len(header) + progress["images"] * math.prod(shape[1:])
        with partial_path.open("rb") as file:
            while chunk := file.read(min(left, 2**24)):
                digest.update(chunk)
                left -= len(chunk)
        if left == 0 and digest.hexdigest() == progress["content"]:
            return done, digest
    return 0, hashlib.sha256(header)


def write_array(path: Path, owner: str, shape: ArrayShape, chunks: Iterable[np.ndarray]) -> None:
    """Write an array in NumPy's format chunk by chunk, and seal it."""
    with path.open("wb") as file:
        file.write(header_of(shape))
        for chunk in chunks:
            file.write(chunk.data)
    seal.seal(path, owner)


def header_of(shape: ArrayShape) -> bytes:
    """What precedes the values of a uint8 array in NumPy's format."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def load_or_measure_statistics(images: np.ndarray) -> tuple[Triple, Triple]:
    """Mean and standard deviation as :func:`statistics` measures them, stored beside a mapped array for later loads."""
    if not isinstance(images, np.memmap) or images.filename is None:
        return statistics(images)
    path = Path(images.filename).with_suffix(STATISTICS)
    with contextlib.suppress(DamagedFile):
        if stored := read_json(path):
            return triple(np.array(stored["mean"])), triple(np.array(stored["std"]))
    mean, std = statistics(images)
    with contextlib.suppress(OSError):
        write_json(path, {"mean": mean, "std": std})
    return mean, std


def concatenate_chunks(shape: ArrayShape, chunks: Iterable[np.ndarray]) -> np.ndarray:
    """Concatenate chunks in memory."""
    whole, done = np.empty(shape, np.uint8), 0
    for chunk in chunks:
        whole[done : done + len(chunk)] = chunk
        done += len(chunk)
    return whole


@dataclass(frozen=True)
class Decoder:
    """Decodes images on all available cores.

    Attributes:
        count: number of images.
        side: of each, in pixels.
        decode: returns the image of a number as (side, side, 3) uint8.
        report: called with the number of decoded images.
    """

    count: int
    side: int
    decode: Callable[[int], np.ndarray]
    report: Callable[[int], None]

    def __call__(self, start: int = 0) -> Iterator[np.ndarray]:
        """Decode the images from ``start`` on, a chunk at a time; the next is decoded while the caller has one.

        Yields:
            (≤ CHUNK, side, 3, side) uint8, in order. The memory of a chunk is used again when the next is asked for.

        Raises:
            DataMissing: an image is damaged, of another size, of more than 8 bits a channel, or was changed meanwhile.
        """
        buffers = np.empty((2, min(CHUNK, self.count - start), self.side, 3, self.side), np.uint8)
        with ThreadPoolExecutor(available_cores()) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and of transparent palettes

            def begin(first: int, buffer: np.ndarray) -> tuple[np.ndarray, Iterator[None]]:
                chunk = buffer[: self.count - first]
                offsets = range(0, len(chunk), IMAGES_PER_TASK)
                parts = [chunk[offset : offset + IMAGES_PER_TASK] for offset in offsets]
                return chunk, pool.map(self._decode_into, parts, [first + offset for offset in offsets])

            begun = map(begin, range(start, self.count, CHUNK), itertools.cycle(buffers))
            try:
                following = next(begun, None)
                while following:
                    (chunk, results), following = following, next(begun, None)
                    deque(results, maxlen=0)  # waits, and raises what a worker raised
                    yield chunk
                    start += len(chunk)
                    self.report(start)
            finally:
                pool.shutdown(cancel_futures=True)

    def _decode_into(self, images: np.ndarray, first: int) -> None:
        """Write the images from number ``first`` on to (n, side, 3, side) ``images``."""
        for number, pixels in enumerate(images, first):
            pixels[:] = self.decode(number).transpose(0, 2, 1)


def decode_image(path: Path, side: int, *, resize: bool, digest: str = "", by_torchvision: bool = False) -> np.ndarray:
    """Decode an image file to (side, side, 3) uint8; see :func:`decode_content`.

    Args:
        path: of the file.
        side: of the decoded image, in pixels.
        resize: whether an image of another size is resized or refused.
        digest: that its content must have, see ``digests_of_files``; any if empty.
        by_torchvision: whether torchvision and torch do it.

    Raises:
        DataMissing: it is damaged, of another size, of more than 8 bits a channel, or its content has another digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataMissing(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest()[: len(digest)] != digest:
        raise DataMissing(f"{path} was changed while the images were read", hint="repeat the command")
    hint = "folder:PATH@SIDE resizes to SIDE"
    return decode_content(content, path, side, resize=resize, by_torchvision=by_torchvision, hint=hint)


def decode_content(
    content: bytes, name: Path, side: int, *, resize: bool, by_torchvision: bool, hint: str
) -> np.ndarray:
    """Decode the content of an image file to (side, side, 3) uint8; resizing takes the largest centred square, bicubic.

    torchvision and torch take half the time of Pillow at 224 pixels. Their pixels differ: centres of squares are whole
    pixels, JPEGs are never read at reduced resolution, and filtered values are off by at most two.

    Args:
        content: of the file.
        name: of the file, for messages.
        side: of the decoded image, in pixels.
        resize: whether an image of another size is resized or refused.
        by_torchvision: whether torchvision decodes JPEGs (those in CMYK are left to Pillow), and torch resizes.
        hint: what to do about an image of another size.

    Raises:
        DataMissing: it is damaged, of another size, or of more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    size = jpeg_size(content) if by_torchvision and resize else None
    if size and size != (side, side) and math.prod(size) <= (Image.MAX_IMAGE_PIXELS or 0):
        with damage_reported(name, content):
            return resize_by_torch(decode_by_torchvision(content), side)
    with open_image(name, io.BytesIO(content)) as image:
        if image.mode[0] in "IF":
            raise DataMissing(f"{name} has more than 8 bits a channel", hint="convert it to 8 bits")
        width, height = image.size
        if width == height == side:
            return np.asarray(image.convert("RGB"))
        if not resize:
            raise DataMissing(f"{name} is {width}×{height}, not {side}×{side}", hint=hint)
        if by_torchvision:
            import torch

            return resize_by_torch(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1), side)
        image.draft(None, (2 * side, 2 * side))  # lets the JPEG decoder work at reduced resolution
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC))


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG of 8 bits in grey or RGB, from its frame header; None for any other file.

    Opening it by Pillow is Python code, for which threads that decode wait for each other.
    """
    position = 2 if content.startswith(b"\xff\xd8") else len(content)
    while position + 10 <= len(content) and content[position] == 0xFF:
        marker, length, bits, height, width, channels = struct.unpack_from(">xBHBHHB", content, position)
        if marker in JPEG_FRAMES:
            return (height, width) if bits == 8 and channels in {1, 3} and height else None
        position += 2 + length
    return None


def decode_by_torchvision(content: bytes) -> Tensor:
    """(3, height, width) uint8 of the content of a JPEG."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return pixels


def resize_by_torch(pixels: Tensor, side: int) -> np.ndarray:
    """The largest centred square of an image (3, height, width) as (side, side, 3), by an antialiased bicubic filter.

    Args:
        pixels: uint8.
        side: in pixels.
    """
    import torch

    _, height, width = pixels.shape
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    centre = pixels[None, :, top : top + square, left : left + square]
    images = centre.contiguous(memory_format=torch.channels_last)  # which torch filters faster
    resized = torch.nn.functional.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


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

    with damage_reported(path, content), Image.open(content or path) as image:
        yield image


@contextlib.contextmanager
def damage_reported(path: Path, content: object = None) -> Iterator[None]:
    """Raise DataMissing for whatever Pillow or torchvision raise for a file that they cannot read.

    Args:
        path: of the file.
        content: its content, whose repr may be part of their message.
    """
    from PIL import Image

    try:
        yield
    except DataMissing:
        raise
    except Image.DecompressionBombError as error:
        size = str(error).partition(", could")[0]
        raise DataMissing(f"{path} is too large: {size}", hint="make it smaller, or remove it") from error
    except Exception as error:  # Pillow raises a dozen kinds for files it cannot read
        why = " ".join(str(error).replace(repr(content), "it").split())
        raise DataMissing(f"{path} is damaged: {why}", hint="replace it, or remove it from the folder") from error
