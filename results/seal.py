"""Seals: a checksum at the end of a file, with the owner that its content belongs to.

A sealed file ends in a line of JSON, the length of that line in four bytes, and eight bytes that say so. What reads the
file by its own format does not see it: arrays know their length, and in a zip archive, as ``torch.save`` writes it, the
seal is the archive's comment. Files of earlier versions have no seal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING

from results.errors import DamagedFile, ForeignFile
from results.files import require_file
from results.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

MARK = b"\nsealed\n"
"""The last bytes of a sealed file."""

TAIL = 4 + len(MARK)
"""Bytes after the JSON of a seal."""

ZIP_END = b"PK\x05\x06"
ZIP_END_SIZE = 22
"""Bytes of the record at the end of a zip archive without a comment; the last two are the length of the comment."""

CHUNK = 2**20


def seal(path: Path, owner: str) -> None:
    """Seal a file in place; to be called before it gets its final name.

    Args:
        path: of the file.
        owner: identity of what the content belongs to.
    """
    text = json.dumps({"sha256": "0" * 64, "owner": owner}).encode()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if is_plain_zip(path):
            file.seek(size - 2)
            file.write((len(text) + TAIL).to_bytes(2, "little"))
        text = json.dumps({"sha256": checksum(file, size, owner), "owner": owner}).encode()
        file.seek(size)
        file.write(text + len(text).to_bytes(4, "little") + MARK)


def check(path: Path, owner: str, is_plain: Callable[[Path], bool]) -> bool:
    """Whether a file is sealed. One that is, is whole and belongs to its owner.

    Args:
        path: of the file.
        owner: identity of what the content must belong to.
        is_plain: whether the file looks like one of an earlier version, complete and without anything after it.

    Raises:
        DamagedFile: it cannot be read, or its bytes are not those that were written.
        ForeignFile: it belongs to another owner.
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            tail = file.read()
            if not tail.endswith(MARK):
                if is_plain(path):
                    return False
                raise DamagedFile(f"{path} is damaged: its end is missing")
            length = int.from_bytes(tail[:4], "little")
            body = size - TAIL - length
            if body < 0:
                raise DamagedFile(f"{path} is damaged: its seal cannot be read")
            file.seek(body)
            stored = json.loads(file.read(length))
            if checksum(file, body, stored["owner"]) != stored["sha256"]:
                raise DamagedFile(f"{path} is damaged: its checksum does not match")
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is damaged: its seal cannot be read") from error
    if stored["owner"] != owner:
        raise ForeignFile(f"{path} belongs to something else: {stored['owner'][:16]}, not {owner[:16]}")
    return True


def seal_earlier(path: Path, owner: str) -> None:
    """Seal a file of an earlier version; a reader that has it open keeps what it has."""

    def write(temporary: Path) -> None:
        shutil.copyfile(path, temporary)
        seal(temporary, owner)

    write_atomically(path, write)


def checksum(file: BinaryIO, size: int, owner: str) -> str:
    """SHA-256 of the first ``size`` bytes of a file and of the owner, in hexadecimal."""
    digest, left = hashlib.sha256(), size
    file.seek(0)
    while left and (chunk := file.read(min(CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(owner.encode())
    return digest.hexdigest()


def is_plain_zip(path: Path) -> bool:
    """Whether a file ends as a zip archive without a comment does."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - ZIP_END_SIZE))
        end = file.read()
    return len(end) == ZIP_END_SIZE and end.startswith(ZIP_END) and end.endswith(b"\0\0")
