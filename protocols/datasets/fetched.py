"""Data sets in files of known checksums, which torchvision knows how to download."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from protocols.datasets.base import Source
from results.errors import DataMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DOWNLOAD_TIMEOUT_S = 30.0
"""Seconds without an answer after which a server counts as out of reach."""


class Fetched(Source):
    """A data set in files of known checksums.

    Attributes:
        files: MD5 of every file that is read, by its path under the root. The checksums are those that torchvision
            publishes, written down here so that reading needs no torchvision, which is slow to import.
    """

    files: ClassVar[Mapping[str, str]]

    def missing(self) -> str:
        """The first file that is not there."""
        paths = (self.root / file for file in self.files)
        return next((f"{path} is not there" for path in paths if not path.is_file()), "")

    def download(self) -> None:
        """Let torchvision download what is missing, and check it.

        Raises:
            OSError: no connection, no disk space, no working torchvision, or what came is damaged.
        """
        with in_one_line(f"cannot download {self.name}"):
            self.fetch()

    def fetch(self) -> None:
        """Call torchvision's own downloader."""
        raise NotImplementedError

    def verified(self, file: str) -> Path:
        """The path of one of :attr:`files`, once its content is known to be the published one.

        Raises:
            DataMissing: it cannot be read, or is damaged.
        """
        path = self.root / file
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise DataMissing(f"cannot read {path}: {error.strerror}", hint=self.hint()) from error
        if found != self.files[file]:
            raise self.damaged(path, "its checksum is not the published one")
        return path


@contextlib.contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn whatever goes wrong in a download into an ``OSError`` of one line.

    Args:
        what: begins the line.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    except Exception as error:  # torchvision and what lies under it raise a dozen kinds, down to a failed import
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise OSError(f"{what}: {reason or type(error).__name__}") from error
    finally:
        socket.setdefaulttimeout(before)
