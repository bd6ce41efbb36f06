"""Seals of files: what was not written by the owner is not read."""

import random
import shutil

import numpy as np
import pytest
import torch

from protocols.pretrain import checkpoint
from results import seal
from results.errors import DamagedFile, ForeignFile

CPU = torch.device("cpu")
CONTENT = {"weights": torch.arange(500.0), "progress": {"step": 3, "history": [{"loss": 0.5}]}}


@pytest.fixture
def weights(tmp_path):
    """A sealed file of tensors."""
    checkpoint.save(tmp_path / "weights.pt", CONTENT, "mine")
    return tmp_path / "weights.pt"


def test_a_sealed_file_is_read_by_torch_as_well(weights):
    for content in (torch.load(weights, weights_only=True), checkpoint.load(weights, CPU, "mine")):
        assert torch.equal(content["weights"], CONTENT["weights"])
        assert content["progress"] == CONTENT["progress"]


def test_no_change_of_a_bit_is_silent(weights):
    written, g = weights.read_bytes(), random.Random(0)
    for position in [*g.sample(range(8 * len(written)), 900), *range(8 * (len(written) - 12), 8 * len(written))]:
        damaged = bytearray(written)
        damaged[position // 8] ^= 1 << position % 8
        weights.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"weights\.pt is damaged"):
            checkpoint.load(weights, CPU, "mine")


def test_no_cut_is_silent(weights):
    written = weights.read_bytes()
    for length in [0, 1, 11, 12, *range(100, len(written), 97), len(written) - 1]:
        weights.write_bytes(written[:length])
        with pytest.raises(DamagedFile):
            checkpoint.load(weights, CPU, "mine")


def test_what_belongs_to_another_is_refused(weights):
    with pytest.raises(ForeignFile, match="belongs to something else: mine, not yours"):
        checkpoint.load(weights, CPU, "yours")


def test_a_file_of_an_earlier_version_is_accepted_once_and_sealed(tmp_path, caplog):
    path = tmp_path / "weights.pt"
    torch.save(CONTENT, path)
    assert torch.equal(checkpoint.load(path, CPU, "mine")["weights"], CONTENT["weights"])
    assert "of an earlier version" in caplog.text
    caplog.clear()
    assert checkpoint.load(path, CPU, "mine")["progress"] == CONTENT["progress"]
    assert not caplog.text
    with pytest.raises(ForeignFile):
        checkpoint.load(path, CPU, "yours")


def test_what_no_version_wrote_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path, ".")
    for content in (b"", b"words", (tmp_path / "other.zip").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(DamagedFile):
            checkpoint.load(path, CPU, "mine")
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedFile, match="cannot read"):
        checkpoint.load(path, CPU, "mine")


def test_an_array_is_mapped_with_its_seal(tmp_path):
    path, array = tmp_path / "array.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(path, array)
    seal.seal(path, "images")
    assert seal.check(path, "images", lambda _: False)
    assert np.array_equal(np.load(path, mmap_mode="c"), array)
