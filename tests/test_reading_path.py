"""Following a command, or one run, through the code takes few modules and hardly any ways back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "tools" / "reading_path.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reading_path", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def code(script):
    return script.Code(SCRIPT.parents[2])


@pytest.mark.parametrize("entry", ["bench.commands.run:run", "protocols.runner:execute", "results.report:show"])
def test_a_path_enters_few_modules_and_re_enters_hardly_any(script, code, entry):
    module, _, name = entry.partition(":")
    path = script.reading_path(code, (module, name))
    assert len(path) > 3, "the path must be followed at all"
    assert len(set(path)) <= 20, path
    assert len(path) - len(set(path)) <= 4, path
