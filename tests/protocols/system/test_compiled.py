"""Where nothing can be compiled, a line says so."""

import logging
import os
import pwd
import tempfile
from pathlib import Path

import pytest
import torch

from protocols.system import compiled


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no compiler\nand more"), PermissionError(13, "Permission denied"), KeyError("getpwuid"), OSError()],
)
def test_a_machine_that_cannot_compile(error, monkeypatch, caplog):
    def fail(_):
        raise error

    monkeypatch.setattr(compiled, "compile_function", fail)
    compiled.compilation_works.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert not compiled.compilation_works()
    finally:
        compiled.compilation_works.cache_clear()
    (line,) = caplog.messages
    assert line.startswith("training is much slower")
    assert "\n" not in line


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, and no other choice of a cache."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(compiled.CACHE, "")
    return tmp_path


def test_the_usual_cache_is_that_of_torch(temporary):
    folders = pytest.importorskip("torch._inductor.runtime.cache_dir_utils")
    assert str(compiled.usual_cache()) == folders.default_cache_dir()
    compiled.choose_cache.__wrapped__()
    assert os.environ[compiled.CACHE] == folders.default_cache_dir()
    assert compiled.usual_cache().stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_name_has_a_cache(temporary, monkeypatch):
    def no_entry(uid):
        raise KeyError(uid)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert compiled.usual_cache() == temporary / f"torchinductor_uid_{os.getuid()}"


def other_owner(folder, monkeypatch):
    monkeypatch.setattr(compiled.os, "getuid", lambda: folder.stat().st_uid + 1)


def writable_by_all(folder, _):
    folder.chmod(0o777)


def not_writable(folder, _):
    folder.rmdir()
    folder.symlink_to("/proc/nothing")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_owner, "belongs to another user"),
        (writable_by_all, "every user can write to"),
        (not_writable, "cannot write"),
    ],
)
def test_a_cache_that_cannot_be_used_or_trusted_is_left_alone(change, reason, temporary, monkeypatch, caplog):
    usual = compiled.usual_cache()
    usual.mkdir()
    change(usual, monkeypatch)
    with caplog.at_level(logging.WARNING):
        compiled.choose_cache.__wrapped__()
    (line,) = caplog.messages
    assert reason in line
    assert line.endswith("kept for this process only")
    chosen = Path(os.environ[compiled.CACHE])
    assert (chosen.parent, chosen.stat().st_mode & 0o777) == (temporary, 0o700)
    assert chosen != usual


def test_a_given_cache_is_taken_if_it_can_be_written(temporary, monkeypatch, caplog):
    for given, taken in ((str(temporary / "a" / "b"), True), ("/proc/nothing", False)):
        monkeypatch.setenv(compiled.CACHE, given)
        compiled.choose_cache.__wrapped__()
        assert (os.environ[compiled.CACHE] == given) == taken
    assert "cannot write to /proc/nothing" in caplog.text


def test_what_is_damaged_in_the_cache_is_compiled_again(temporary, monkeypatch, caplog):
    from torch._dynamo.exc import BackendCompilerFailed

    monkeypatch.setenv(compiled.CACHE, str(temporary / "old"))

    def damaged(*_):
        raise BackendCompilerFailed(lambda: None, ImportError("old/c.so: file too short"), None)

    monkeypatch.setattr(
        compiled, "compile_function", lambda f: damaged if os.environ[compiled.CACHE].endswith("old") else f
    )
    assert compiled.compiled(torch.square)(torch.tensor(3.0)) == 9.0
    assert "square is compiled again" in caplog.text
    assert "file too short" in caplog.text
    monkeypatch.setattr(compiled, "compile_function", lambda _: damaged)
    with pytest.raises(BackendCompilerFailed):  # in a new folder it cannot be damage
        compiled.compiled(torch.square)(torch.tensor(3.0))
