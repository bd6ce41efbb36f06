"""Images that do not fit on the device give the same views, and each is read once for a batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from protocols.datasets.device_images import DeviceImages, HostImages, device_images
from protocols.datasets.load import load_dataset
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import chooses_images, make_batch, prefetch
from protocols.spec.protocol import load
from protocols.spec.resolve import parse_changes, resolve

CPU = torch.device("cpu")


@pytest.fixture
def stored(tmp_path):
    """A mapped file, as those of large data sets are."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (50, 8, 3, 8), dtype=np.uint8))
    return np.load(tmp_path / "images.npy", mmap_mode="c")


def counting(images: HostImages) -> list[list[int]]:
    """What is read from now on."""
    reads, read = [], images._read

    def note(rows, buffer):
        reads.append(rows.tolist())
        return read(rows, buffer)

    images._read = note
    return reads


@pytest.mark.parametrize("ahead", [True, False])
def test_far_images_are_those_that_were_asked_for(stored, ahead):
    images, index = HostImages(stored, CPU), torch.tensor([[7, 3, 40], [3, 3, 7]])
    reads = counting(images)
    if ahead:
        images.prefetch(index[0])
    rows, positions = images.read(index)
    assert torch.equal(rows[positions], torch.from_numpy(stored[index.numpy()]))
    assert reads == [[3, 7, 40]]


def test_only_the_last_expectations_are_kept(stored):
    images = HostImages(stored, CPU)
    for start in range(5):
        images.prefetch(torch.arange(start, start + 3))
    assert len(images._prefetched) == 3
    reads = counting(images)
    images.read(torch.arange(4, 7))
    assert reads == []
    images.read(torch.arange(3))
    assert reads == [[0, 1, 2]]


def test_on_a_cpu_images_stay_where_they_are(stored):
    assert type(device_images(stored, CPU)) is DeviceImages
    assert device_images(stored, CPU).stored.data_ptr() == stored.ctypes.data


@pytest.mark.parametrize(("free", "kind"), [(10_000, HostImages), (10**9, DeviceImages)])
def test_a_gpu_takes_what_leaves_room_for_training(stored, monkeypatch, free, kind):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr(DeviceImages, "__init__", lambda self, stored, device: None)
    monkeypatch.setattr(HostImages, "__init__", lambda self, stored, device: None)
    assert type(device_images(stored, torch.device("cuda"))) is kind


@pytest.mark.parametrize("method", ["simclr", "graph_nnclr"])
def test_views_are_the_same_from_afar(tmp_path, method):
    changes = parse_changes(["pretrain.views=1000", "pretrain.batch=16"])
    run = resolve(
        load("quick"), method=method, dataset="digits", backbone="conv4", seed=0, changes=changes, data=tmp_path
    )
    digits = load_dataset("digits", tmp_path)
    near = build_job(run, tmp_path, digits, CPU)
    far = dataclasses.replace(near, images=HostImages(digits.train.images, CPU))
    assert chooses_images(near.method) == (method == "graph_nnclr")
    index = torch.arange(100, 116)
    prefetch(far, index)
    assert torch.equal(make_batch(near, index, 0).views, make_batch(far, index, 0).views)
