"""Data sets of Hugging Face's library, made here and saved to a folder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from protocols.datasets import huggingface
from protocols.datasets.load import load_dataset
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing

datasets = pytest.importorskip("datasets")


def images(count: int, side: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def png(pixels: np.ndarray) -> dict[str, object]:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return {"bytes": content.getvalue(), "path": None}


def save(folder, splits, *, label="label", others=()):
    """Save splits of pixels, whose labels count 0, 1, 2, 0, …"""
    names = datasets.ClassLabel(names=["a", "b", "c"])
    features = datasets.Features({"image": datasets.Image(), label: names, **dict.fromkeys(others, names)})
    tables = {
        split: datasets.Dataset.from_dict(
            {
                "image": [png(one) for one in pixels],
                **{column: [number % 3 for number in range(len(pixels))] for column in (label, *others)},
            },
            features,
        )
        for split, pixels in splits.items()
    }
    datasets.DatasetDict(tables).save_to_disk(str(folder))


@pytest.fixture
def saved(tmp_path):
    save(tmp_path / "flowers", {"train": images(9), "validation": images(6, seed=1)})
    return tmp_path


def test_images_and_labels_are_those_that_were_saved(saved):
    loaded = load_dataset("hf:flowers", saved)
    assert loaded.classes == ("a", "b", "c")
    assert np.array_equal(loaded.train.images.transpose(0, 1, 3, 2), images(9))
    assert np.array_equal(loaded.test.images.transpose(0, 1, 3, 2), images(6, seed=1))
    assert loaded.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_second_load_decodes_nothing(saved, monkeypatch):
    first = dataset_source("hf:flowers", saved).load()
    monkeypatch.setattr(huggingface.prepared, "decode_content", None)
    source = dataset_source("hf:flowers", saved)
    assert np.array_equal(source.load().train.images, first.train.images)
    assert {path for path in (saved / "prepared").iterdir() if path.suffix == ".npy"} <= {*source.prepared_files()}


def test_images_of_other_sizes_are_resized_if_a_side_is_given(tmp_path):
    save(tmp_path / "wide", {"train": images(3)[:, :8], "test": images(3, 16)})
    assert load_dataset("hf:wide@8", tmp_path).train.images.shape == (3, 8, 3, 8)
    with pytest.raises(DataMissing, match=r"hf:wide/train/0 is 12×8, not 12×12; hf:wide@SIDE resizes to SIDE"):
        load_dataset("hf:wide", tmp_path)


def test_the_content_decides_the_identity(saved):
    digest = dataset_source("hf:flowers", saved).digest()
    assert dataset_source("hf:flowers@8", saved).digest() != digest
    pixels = images(9)
    pixels[4, 2, 2] += 1
    save(saved / "changed", {"train": pixels, "validation": images(6, seed=1)})
    assert len({digest, dataset_source("hf:changed", saved).digest(), ""}) == 3


@pytest.mark.parametrize(
    ("splits", "columns", "message"),
    [
        ({"train": 3, "extra": 3}, {}, "has the splits train, extra; it needs train, and one of test"),
        ({"train": 3, "test": 3}, {"label": "fine", "others": ["coarse"]}, "1 columns of images and 2 of class labels"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, splits, columns, message):
    save(tmp_path / "odd", {split: images(count) for split, count in splits.items()}, **columns)
    with pytest.raises(DataMissing, match=message):
        load_dataset("hf:odd", tmp_path)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(DataMissing, match="is not there; run: bench data hf:none/of-these"):
        load_dataset("hf:none/of-these", tmp_path)
    monkeypatch.setattr(huggingface, "is_installed", lambda: False)
    with pytest.raises(DataMissing, match=r"datasets is not installed; pip install 'ssl-bench\[huggingface\]'"):
        load_dataset("hf:none/of-these", tmp_path)
