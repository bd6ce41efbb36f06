"""Tiny ImageNet and SlimageNet64, laid out of what 20 classes of real images there are."""

from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from protocols.datasets.imagenet_subsets import SlimageNet64, TinyImageNet
from protocols.datasets.load import validate
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing


class SmallTiny(TinyImageNet):
    counts: ClassVar = {"train": 60, "val": 40}


@pytest.fixture
def wnids(real_data):
    return sorted(path.name for path in (real_data / "tiny-imagenet-20" / "val").iterdir())


@pytest.fixture
def original(tmp_path, real_data, wnids):
    """Three train and two val images of each class, in the layout of the original archive."""
    packed, folder = real_data / "tiny-imagenet-20", tmp_path / "tiny-imagenet-200"
    lines = []
    (folder / "val" / "images").mkdir(parents=True)
    for wnid in wnids:
        (folder / "train" / wnid / "images").mkdir(parents=True)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").touch()
        for path in sorted((packed / "train" / wnid).iterdir())[:3]:
            (folder / "train" / wnid / "images" / path.name).symlink_to(path)
        for path in sorted((packed / "val" / wnid).iterdir())[:2]:
            (folder / "val" / "images" / path.name).symlink_to(path)
            lines.append(f"{path.name}\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    (folder / "words.txt").write_text(f"{wnids[0]}\tgoldfish, Carassius auratus\n")
    return SmallTiny("tiny_imagenet", tmp_path)


def refolder(folder, wnids):
    """Sort the val images into a folder a class, as many scripts do; the empty ``images`` stays behind."""
    for line in (folder / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        (folder / "val" / wnid).mkdir(exist_ok=True)
        (folder / "val" / "images" / name).rename(folder / "val" / wnid / name)


def test_original_layout(original, real_data, wnids):
    dataset = original.load()
    validate(dataset)
    assert dataset.train.images.shape == (60, 64, 3, 64)
    assert dataset.train.labels.tolist() == [label for label in range(20) for _ in range(3)]
    assert dataset.classes == ("goldfish", *wnids[1:])
    assert np.bincount(dataset.test.labels).tolist() == [2] * 20
    files = [file.path for file in original.listing("val").files]
    assert files == sorted(files)
    for file, pixels, label in zip(files, dataset.test.images, dataset.test.labels, strict=True):
        path = real_data / "tiny-imagenet-20" / "val" / wnids[label] / file.removeprefix("images/")
        assert np.array_equal(pixels, np.asarray(Image.open(path).convert("RGB")).transpose(0, 2, 1))


def test_refoldered_layout_holds_the_same_images(original, tmp_path, wnids):
    before = original.load().test
    refolder(original.folder, wnids)
    after = SmallTiny("tiny_imagenet", tmp_path).load().test
    pairs = [
        sorted((image.tobytes(), label) for image, label in zip(split.images, split.labels.tolist(), strict=True))
        for split in (before, after)
    ]
    assert pairs[0] == pairs[1]


def test_a_val_image_without_a_label_is_named(original):
    annotations = original.folder / "val" / "val_annotations.txt"
    annotations.write_text("\n".join(annotations.read_text().splitlines()[1:]))
    with pytest.raises(DataMissing, match=r"val_annotations\.txt has no label for images/"):
        original.load()


def test_a_strange_label_is_named(original):
    annotations = original.folder / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("n01443537", "n99999999"))
    with pytest.raises(DataMissing, match="names n99999999, which is missing in train"):
        original.load()


def test_an_incomplete_set_is_refused(original, tmp_path):
    with pytest.raises(DataMissing, match=r"tiny-imagenet-200/train holds 60 images, not 100,000"):
        dataset_source("tiny_imagenet", tmp_path).load()


def test_slimagenet64(tmp_path, real_data, wnids):
    for split, packed in (("train", "train"), ("test", "val")):
        for wnid in wnids:
            (tmp_path / "SlimageNet64" / split / wnid).mkdir(parents=True)
            for path in sorted((real_data / "tiny-imagenet-20" / packed / wnid).iterdir())[:2]:
                (tmp_path / "SlimageNet64" / split / wnid / path.name).symlink_to(path)

    class Small(SlimageNet64):
        counts: ClassVar = {"train": 40}

    dataset = Small("slimagenet64", tmp_path).load()
    validate(dataset)
    assert dataset.test.labels.tolist() == [label for label in range(20) for _ in range(2)]
    assert (dataset.mean, dataset.std) == ((0.5,) * 3, (0.25,) * 3)
    with pytest.raises(DataMissing, match=r"train holds 40 images, not 160,000; fetch it from https://zenodo\.org"):
        dataset_source("slimagenet64", tmp_path).load()
