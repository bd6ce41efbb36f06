"""ImageNet-1k and ImageNet-100, laid out of small images."""

from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from protocols.datasets.imagenet import ImageNet, ImageNet100
from protocols.datasets.load import validate
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing, RequestError


class SmallImageNet(ImageNet):
    counts: ClassVar = {"train": 4, "val": 2}


class SmallImageNet100(ImageNet100):
    counts: ClassVar = {"train": 100, "val": 100}


def save(path, value, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, "JPEG", quality=95)


def fill(folder, synsets, images=1):
    for split, count in (("train", images), ("val", 1)):
        for value, synset in enumerate(synsets):
            for number in range(count):
                save(folder / split / synset / f"{number}.JPEG", 2 * value)


@pytest.mark.parametrize("folder", ["imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"])
def test_standard_folders(tmp_path, folder):
    fill(tmp_path / folder, ["n02000000", "n01000000"], images=2)
    dataset = SmallImageNet("imagenet:32", tmp_path).load()
    validate(dataset)
    assert dataset.side == 32
    assert dataset.classes == ("n01000000", "n02000000")
    assert dataset.train.images[:, 0, 0, 0].tolist() == [2, 2, 0, 0]
    assert dataset.test.labels.tolist() == [0, 1]


def test_stored_at_256_pixels_unless_another_side_is_named(tmp_path):
    assert dataset_source("imagenet", tmp_path).side == 256
    assert dataset_source("imagenet100:224", tmp_path).side == 224


def test_sides_are_told_apart(tmp_path):
    fill(tmp_path / "imagenet", ["n01000000", "n02000000"], images=2)
    assert len({SmallImageNet(name, tmp_path).digest() for name in ("imagenet", "imagenet:64", "imagenet:32")}) == 3


@pytest.mark.parametrize("side", ["large", "7", "-224", "2048", "224x224"])
def test_a_side_that_is_none_is_refused(tmp_path, side):
    with pytest.raises(RequestError, match=r"is no side in pixels; write imagenet:224"):
        dataset_source(f"imagenet:{side}", tmp_path).require()


def test_the_100_classes_are_taken_from_all(tmp_path):
    synsets = ImageNet100("imagenet100", tmp_path).classes
    assert len(set(synsets)) == 100
    fill(tmp_path / "imagenet", ["n00000001", *synsets])
    dataset = SmallImageNet100("imagenet100:8", tmp_path).load()
    validate(dataset)
    assert dataset.classes == synsets
    assert dataset.train.labels.tolist() == list(range(100))
    assert np.array_equal(dataset.train.images[:, 0, 0, 0], 2 * np.arange(1, 101))
    (tmp_path / "imagenet" / "val" / synsets[7] / "0.JPEG").unlink()
    (tmp_path / "imagenet" / "val" / synsets[7]).rmdir()
    with pytest.raises(DataMissing, match=rf"val/{synsets[7]} is not there; get it from"):
        dataset_source("imagenet100", tmp_path).require()


def test_incomplete_folders_are_named(tmp_path):
    with pytest.raises(DataMissing, match=r"imagenet/train is not there; get it from https://image-net\.org"):
        dataset_source("imagenet", tmp_path).require()
    fill(tmp_path / "imagenet", ["n01000000", "n02000000"])
    with pytest.raises(DataMissing, match=r"train holds 2 images, not 1,281,167"):
        dataset_source("imagenet", tmp_path).load()


def test_val_images_that_are_not_sorted_into_classes_are_named(tmp_path):
    save(tmp_path / "imagenet" / "train" / "n01000000" / "0.JPEG", 1)
    save(tmp_path / "imagenet" / "val" / "ILSVRC2012_val_00000001.JPEG", 1)
    with pytest.raises(DataMissing, match=r"imagenet/val are not sorted into a folder a class"):
        dataset_source("imagenet", tmp_path).require()
