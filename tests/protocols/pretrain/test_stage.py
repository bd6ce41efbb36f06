"""Weights of an earlier training; what runs do with them is in test_runner.py."""

from types import SimpleNamespace

import pytest
import torch

from protocols.pretrain import checkpoint
from protocols.pretrain.stage import load_trained
from protocols.system.progress import ProgressListener
from results.store import BACKBONE

RUN = SimpleNamespace(fingerprint=lambda: "1a2b3c")


@pytest.mark.parametrize(("content", "kept"), [({}, True), ({"has_extra_state": True}, False)])
def test_weights_count_unless_they_say_that_a_second_file_belongs_to_them(tmp_path, content, kept):
    """Files of earlier versions say nothing of it."""
    checkpoint.save(tmp_path / BACKBONE, {"epochs": 3, **content}, RUN.fingerprint())
    loaded = load_trained(RUN, tmp_path, torch.device("cpu"), ProgressListener())
    assert loaded == ({"epochs": 3} if kept else None)
    assert (tmp_path / BACKBONE).exists() == kept
