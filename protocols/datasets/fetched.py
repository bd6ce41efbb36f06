"""Data sets whose files torchvision downloads, verified by their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from typing import TYPE_CHECKING, ClassVar

from protocols.datasets.base import Source
from results.errors import DataMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOWNLOAD_TIMEOUT_S = 30.0
"""Seconds without an answer after which a download fails."""


class Fetched(Source):
    """A data set in files with known checksums.

    Attributes:
        files: MD5 checksum of every file, by its path under the root. The checksums are those of torchvision, repeated
            here because torchvision is slow to import.
    """

    files: ClassVar[Mapping[str, str]]

    def missing(self) -> str:
        """The first missing file."""
        paths = (self.root / file for file in self.files)
        return next((f"{path} is not there" for path in paths if not path.is_file()), "")

    def download(self) -> None:
        """Download and verify missing files with torchvision.

        Raises:
            OSError: no connection, no disk space, no working torchvision, or a file is damaged.
        """
        with in_one_line(f"cannot download {self.name}"):
            self.fetch()

    def fetch(self) -> None:
        """Call torchvision's downloader."""
        raise NotImplementedError

    def verified(self, file: str) -> bytes:
        """The content of one of :attr:`files`, whose checksum was verified.

        Raises:
            DataMissing: it cannot be read, or is damaged.
        """
        return b"".join(self.verified_chunks(file, 2**24))

    def verified_chunks(self, file: str, size: int) -> Iterator[bytes]:
        """The content of one of :attr:`files` in chunks of so many bytes; after the last its checksum is verified.

        Raises:
            DataMissing: it cannot be read, or is damaged.
        """
        path, digest = self.root / file, hashlib.md5(usedforsecurity=False)
        try:
            with path.open("rb") as opened:
                while chunk := opened.read(size):
                    digest.update(chunk)
                    yield chunk
        except OSError as error:
            raise DataMissing(f"cannot read {path}: {error.strerror}", hint=self.hint()) from error
        if digest.hexdigest() != self.files[file]:
            raise self.damaged(path, "its checksum is not the published one")


@contextlib.contextmanager
def in_one_line(message: str) -> Iterator[None]:
    """Convert any error of a download to an ``OSError`` with a message of one line.

    Args:
        message: beginning of the line.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    except Exception as error:  # torchvision and its dependencies raise many kinds, ImportError among them
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise OSError(f"{message}: {reason or type(error).__name__}") from error
    finally:
        socket.setdefaulttimeout(before)
