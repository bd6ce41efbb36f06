"""What is no file of a reasonable size is refused at once, not waited for."""

import os

import pytest

from results.files import LARGEST, read_bytes
from results.schema import read_toml


def test_the_content_of_a_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"\0content")
    assert read_bytes(tmp_path / "file") == b"\0content"
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", largest=8) == b"\0content"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe or a device"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: (path.touch(), os.truncate(path, LARGEST + 1)), "File too large"),
        (lambda path: None, "No such file"),
    ],
    ids=["pipe", "device", "folder", "loop", "too large", "nothing"],
)
def test_what_is_no_file_is_refused_in_words(tmp_path, make, why):
    make(tmp_path / "it")
    for read in (read_bytes, read_toml):
        with pytest.raises(OSError, match=why):
            read(tmp_path / "it")
