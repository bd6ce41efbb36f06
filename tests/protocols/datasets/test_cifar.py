import numpy as np
import pytest
import torchvision

from protocols.datasets.base import rows_of_planes, statistics
from protocols.datasets.load import load_dataset
from protocols.spec.plugins import DATASETS
from results.errors import DataMissing

NAMES = ("cifar10", "cifar100", "cifar100-20")
INDEPENDENT = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_checksums_are_those_that_torchvision_publishes(name):
    theirs = INDEPENDENT[name]
    listed = [*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])]
    assert DATASETS.get(name).files == {f"{theirs.base_folder}/{file}": md5 for file, md5 in listed}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_images_and_labels_are_those_that_torchvision_reads(name, real_data):
    ours = load_dataset(name, real_data)
    for split, train in ((ours.train, True), (ours.test, False)):
        theirs = INDEPENDENT[name](real_data, train=train)
        assert np.array_equal(split.images, rows_of_planes(theirs.data))
        assert split.labels.tolist() == theirs.targets
        assert ours.classes == tuple(theirs.classes)


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_close_to_what_the_train_split_has(name, real_data):
    dataset = load_dataset(name, real_data)
    mean, std = statistics(dataset.train.images, at_most=50_000)
    assert dataset.mean == pytest.approx(mean, abs=1e-3)
    assert dataset.std == pytest.approx(std, abs=1e-3)


def test_a_part_of_cifar10_is_its_first_images_with_nearly_balanced_classes(real_data):
    whole, part = load_dataset("cifar10", real_data), load_dataset("cifar10-15k", real_data)
    assert (part.classes, part.mean, part.std) == (whole.classes, whole.mean, whole.std)
    for some, every, count in ((part.train, whole.train, 10_000), (part.test, whole.test, 5_000)):
        assert np.array_equal(some.images, every.images[:count])
        assert np.array_equal(some.labels, every.labels[:count])
        assert np.bincount(some.labels) == pytest.approx(np.full(10, count / 10), rel=0.1)


def test_coarse_labels_group_five_fine_ones_each(real_data):
    fine, coarse = load_dataset("cifar100", real_data), load_dataset("cifar100-20", real_data)
    assert np.array_equal(fine.test.images, coarse.test.images)
    pairs = set(zip(fine.train.labels, coarse.train.labels, strict=True))
    assert len(pairs) == 100
    assert np.bincount([group for _, group in pairs]).tolist() == [5] * 20
    trees = {fine.classes[kind] for kind, group in pairs if coarse.classes[group] == "trees"}
    assert trees == {"maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"}


def test_damaged_batch_is_named(real_data, tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "meta"):
        (folder / name).symlink_to(real_data / "cifar-100-python" / name)
    (folder / "test").write_bytes((real_data / "cifar-100-python" / "test").read_bytes()[:-1])
    with pytest.raises(DataMissing) as caught:
        load_dataset("cifar100", tmp_path)
    assert str(folder / "test") in caught.value.message
    assert f"delete it, then run: bench data cifar100 --data {tmp_path}" in caught.value.hint
