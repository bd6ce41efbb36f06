"""Where nothing can be compiled, a line says so."""

import logging

import pytest

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
