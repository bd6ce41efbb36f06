"""A file of tensors that holds more than tensors is refused, and nothing of it is run."""

from pathlib import Path

import pytest
import torch

from protocols.pretrain import checkpoint
from results.errors import DamagedFile


class Runs:
    """Something that runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_reading_a_file_runs_nothing_that_lies_in_it(tmp_path):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    checkpoint.save(path, {"backbone": Runs(trace)}, "mine")
    with pytest.raises(DamagedFile):
        checkpoint.load(path, torch.device("cpu"), "mine")
    assert not trace.exists()
