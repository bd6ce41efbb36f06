"""Reading files of unknown origin: what waits for a writer or never ends is refused, not read."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 2**30
"""Bytes of the largest file that is read as a whole."""


def require_file(path: Path) -> os.stat_result:
    """Check that a path leads to a regular file; a pipe would wait for a writer, a device may never end.

    Raises:
        OSError: it does not, or leads to nothing.
    """
    status = path.stat()
    require_regular(status, path)
    return status


def require_regular(status: os.stat_result, path: Path) -> None:
    """Check that a status is that of a regular file.

    Raises:
        OSError: it is not.
    """
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a regular file of at most ``largest`` bytes.

    Raises:
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without waiting for the writer of a pipe
    try:
        status = os.fstat(file)
        require_regular(status, path)
        if status.st_size > largest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        content = os.read(file, status.st_size + 1)
        while len(content) <= largest and (more := os.read(file, 2**16)):  # it has grown
            content += more
        return content
    finally:
        os.close(file)
