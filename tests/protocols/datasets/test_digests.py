import hashlib
import json
import os
import threading
import time

import pytest

from protocols.datasets import digests
from results.errors import DataMissing

OLD = 1_000_000_000


@pytest.fixture
def folder(tmp_path):
    """Four files that were changed long ago, but for their time of change, which nothing can set."""
    (tmp_path / "images").mkdir()
    for name in "abcd":
        write(tmp_path / "images" / name, name * 100)
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read."""
    found = []
    read = digests.read_digest
    monkeypatch.setattr(digests, "read_digest", lambda path: found.append(path.name) or read(path))
    return found


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Everything is large, and counts as unchanged at once."""
    monkeypatch.setattr(digests, "ALWAYS_READ", 0)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**12))


def write(path, text):
    path.write_text(text)
    os.utime(path, ns=(OLD, OLD))


def digests_of(folder, reports=None):
    paths = sorted(path.name for path in folder.iterdir())
    size = sum((folder / path).stat().st_size for path in paths)
    report = reports.append if reports is not None else lambda _: None
    return digests.digests_of_files(folder, paths, size, folder.parent / "prepared" / "images.digests", report)


def expected(folder):
    return [hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in sorted(folder.iterdir())]


def test_files_are_read_once_and_again_after_any_change(folder, reads):
    assert digests_of(folder) == expected(folder)
    assert sorted(reads) == list("abcd")
    reads.clear()
    assert digests_of(folder) == expected(folder)
    assert reads == []
    write(folder / "b", "x" * 100)  # of the same size, at the same time, in place
    write(folder / "new", "c" * 100)
    (folder / "new").replace(folder / "c")
    assert digests_of(folder) == expected(folder)
    assert sorted(reads) == ["b", "c"]


def test_a_small_folder_is_read_every_time(folder, reads, monkeypatch):
    monkeypatch.setattr(digests, "ALWAYS_READ", 400)
    digests_of(folder)
    digests_of(folder)
    assert len(reads) == 8
    assert not (folder.parent / "prepared").exists()


def test_a_file_that_has_just_been_changed_is_not_remembered(folder, reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_NS", 2 * 10**9)
    digests_of(folder)
    digests_of(folder)
    assert len(reads) == 8  # their time of change is now
    monkeypatch.setattr(time, "time_ns", lambda real=time.time_ns: real() + 3 * 10**9)
    digests_of(folder)
    reads.clear()
    assert digests_of(folder) == expected(folder)
    assert reads == []


def test_a_file_that_is_changed_while_it_is_read_is_read_again(folder, monkeypatch):
    real, changes = os.fstat, iter([1, 0, 0])

    def fstat(number):
        status = real(number)
        if next(changes, 0):
            with (folder / "a").open("a") as file:
                file.write("more")
        return status

    monkeypatch.setattr(digests.os, "fstat", fstat)
    digest = digests.read_digest(folder / "a")[1]
    assert digest == hashlib.sha256(b"a" * 100 + b"more").hexdigest()[:32]
    changes = iter([1] * 99)
    with pytest.raises(DataMissing, match="a is being written; repeat the command when its folder is complete"):
        digests.read_digest(folder / "a")


def test_no_flipped_bit_of_the_memory_is_believed(folder, reads, caplog):
    right = digests_of(folder)
    path = folder.parent / "prepared" / "images.digests"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        assert digests_of(folder) == right
        assert path.read_bytes() == whole
    for content in (b"", b"{}\n", whole[: len(whole) // 2], whole.partition(b"\n")[0] + b"\n"):
        path.write_bytes(content)
        assert digests_of(folder) == right
    assert "images.digests is damaged" in caplog.text
    assert len(reads) > 4 * len(whole) // 7


def test_the_memory_of_another_folder_is_not_believed(folder, caplog):
    digests_of(folder)
    path = folder.parent / "prepared" / "images.digests"
    other = folder.parent / "other"
    other.mkdir()
    for name in "abcd":
        os.link(folder / name, other / name)
    assert digests_of(other) == expected(other)
    assert "belongs to something else" in caplog.text
    assert digests.folder_of_memory(path) == other


def test_writers_at_the_same_time_leave_a_whole_memory(folder, reads):
    threads = [threading.Thread(target=digests_of, args=(folder,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reads.clear()
    assert digests_of(folder) == expected(folder)
    assert reads == []
    assert [path.name for path in (folder.parent / "prepared").iterdir()] == ["images.digests"]


def test_a_memory_that_cannot_be_written_costs_a_line(folder, caplog):
    (folder.parent / "prepared").write_text("")
    assert digests_of(folder) == expected(folder)
    assert "the images of" in caplog.text


def test_progress_is_reported_where_it_takes_long(folder, monkeypatch):
    reports = []
    digests_of(folder, reports)
    assert reports == []
    monkeypatch.setattr(digests, "SILENT_S", -1.0)
    monkeypatch.setattr(digests, "FILES_PER_TASK", 2)
    digests_of(folder, reports)
    assert reports == [2, 4]


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "e").symlink_to("nothing")
    with pytest.raises(DataMissing, match=r"cannot read .*/images/e: No such file"):
        digests.digests_of_files(folder, ["a", "e"], 1, folder.parent / "memory", lambda _: None)


def test_only_a_line_of_json_is_read(folder):
    digests_of(folder)
    line = (folder.parent / "prepared" / "images.digests").read_bytes().partition(b"\n")[0]
    assert json.loads(line)["folder"] == str(folder)


def test_a_file_without_end_is_refused_before_it_is_read(folder):
    os.truncate(folder / "b", 2**40)
    start = time.monotonic()
    with pytest.raises(DataMissing, match=r"cannot read .*b: File too large"):
        digests_of(folder)
    assert time.monotonic() - start < 1
