"""What a record says of its making."""

import pytest
import torch

from protocols.system.provenance import provenance


@pytest.mark.parametrize("program", ["/somewhere/bin/bench", "/somewhere/bench/__main__.py"])
def test_the_command_is_the_same_however_it_is_started(monkeypatch, program):
    """By its own name, or as ``python -m bench``; without the folder that it is installed in."""
    monkeypatch.setattr("sys.argv", [program, "run", "--seeds", "0"])
    assert provenance(torch.device("cpu"))["command"] == "bench run --seeds 0"
