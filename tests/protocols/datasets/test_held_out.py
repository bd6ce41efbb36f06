import numpy as np
import pytest

from protocols.datasets import prepared
from protocols.datasets.load import load_dataset, prepare_dataset, require
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing, RequestError, UnknownName


def rows(split):
    return [image.tobytes() for image in split.images]


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_every_tenth_training_image_is_measured_on_and_no_test_image(name, tmp_path):
    whole, part = load_dataset(name, tmp_path), load_dataset(f"held_out:{name}", tmp_path)
    assert part.name == f"held_out:{name}"
    assert rows(part.test) == rows(whole.train)[9::10]
    assert part.test.labels.tolist() == whole.train.labels.tolist()[9::10]
    load_or_write = [image for place, image in enumerate(rows(whole.train)) if place % 10 != 9]
    assert rows(part.train) == load_or_write
    assert len(part.train.labels) == len(load_or_write)
    assert not set(rows(part.train)) & set(rows(part.test))
    assert (part.mean, part.std, part.classes) == (whole.mean, whole.std, whole.classes)


def test_classes_keep_their_shares_of_real_images(real_data):
    for name in ("cifar10", f"folder:{real_data}/tiny-imagenet-20"):
        part = load_dataset(f"held_out:{name}", real_data)
        share = np.bincount(part.test.labels) / (np.bincount(part.train.labels) + np.bincount(part.test.labels))
        assert abs(share - 0.1).max() < 0.01


def test_of_a_folder_too(tmp_path):
    from PIL import Image

    for split, count in (("train", 12), ("test", 1)):
        (tmp_path / split / "cat").mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / split / "cat" / f"{i:02}.png")
    reports = []
    part = prepare_dataset(f"held_out:folder:{tmp_path}@4", tmp_path, progress=lambda *report: reports.append(report))
    assert (len(part.train), len(part.test), part.side) == (11, 1, 4)
    assert reports
    assert dataset_source(f"held_out:folder:{tmp_path}", tmp_path).digest() != ""
    assert (tmp_path / prepared.FOLDER).is_dir()


def test_what_the_whole_lacks_is_missing(tmp_path):
    with pytest.raises(DataMissing, match="run: bench data cifar10 "):
        require(["held_out:cifar10"], tmp_path)
    with pytest.raises(UnknownName, match="cifra10"):
        require(["held_out:cifra10"], tmp_path)
    with pytest.raises(RequestError, match="held_out needs more than its name; write held_out:NAME"):
        require(["held_out"], tmp_path)
