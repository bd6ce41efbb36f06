import os
import shutil

import numpy as np
import pytest
import torchvision
from PIL import Image

from protocols.datasets import image_folders
from protocols.datasets.base import rows_of_planes, statistics
from protocols.datasets.load import load_dataset, require, validate
from protocols.spec.plugins import dataset_source
from results.errors import DataMissing


def save(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes, four train and two test images whose grey tells which they are."""
    folder = tmp_path / "photos"
    for path, value in (
        ("train/cat/b.png", 2),
        ("train/cat/a.png", 1),
        ("train/dog/deep/c.png", 3),
        ("train/dog/d.png", 4),
        ("val/cat/e.png", 5),
        ("val/dog/f.png", 6),
    ):
        save(folder / path, value)
    return folder


def load(name, tmp_path):
    dataset = dataset_source(f"folder:{name}", tmp_path).load()
    validate(dataset)
    return dataset


def greys(split):
    return split.images[:, 0, 0, 0].tolist()


def test_real_images_are_those_that_image_folder_reads(real_data, tmp_path):
    folder = real_data / "tiny-imagenet-20"
    ours = load(folder, tmp_path)
    for split, name in ((ours.train, "train"), (ours.test, "val")):
        theirs = torchvision.datasets.ImageFolder(folder / name)
        assert split.labels.tolist() == theirs.targets
        chosen = range(0, len(theirs), 7)
        pixels = np.stack([np.asarray(theirs[i][0]) for i in chosen])
        assert np.array_equal(split.images[::7], rows_of_planes(pixels))
    assert ours.classes == tuple(theirs.classes)
    assert ours.side == 64
    assert (ours.mean, ours.std) == statistics(ours.train.images)


def test_layout(photos, tmp_path):
    dataset = load(photos, tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert greys(dataset.train) == [1, 2, 4, 3]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert greys(dataset.test) == [5, 6]
    assert dataset.unlabeled is None
    assert dataset.pretrain is dataset.train
    assert dataset.side == 8


def test_test_goes_before_val_where_it_has_classes(photos, tmp_path):
    save(photos / "test" / "flat.png", 9)
    assert greys(load(photos, tmp_path).test) == [5, 6]
    save(photos / "test" / "dog" / "x.png", 7)
    assert greys(load(photos, tmp_path).test) == [7]


def test_unlabeled_images_are_pretrained_on(photos, tmp_path):
    save(photos / "unlabeled" / "2.png", 12)
    save(photos / "unlabeled" / "1.png", 11)
    save(photos / "unlabeled" / "more" / "3.png", 13)
    dataset = load(photos, tmp_path)
    assert greys(dataset.pretrain) == [11, 12, 13]
    assert dataset.pretrain.labels.tolist() == [-1, -1, -1]
    assert len(dataset.train) == 4


def test_a_side_resizes(photos, tmp_path):
    save(photos / "train" / "cat" / "wide.png", 7, size=(90, 60))
    dataset = load(f"{photos}@4", tmp_path)
    assert dataset.side == 4
    assert greys(dataset.train) == [1, 2, 7, 4, 3]


def test_without_a_side_nothing_is_resized(photos, tmp_path):
    save(photos / "val" / "dog" / "wide.png", 7, size=(90, 60))
    with pytest.raises(DataMissing, match=r"wide\.png is 90×60, not 8×8; folder:PATH@SIDE resizes"):
        load(photos, tmp_path)
    load(f"{photos}@8", tmp_path)
    with pytest.raises(DataMissing, match=r"wide\.png is 90×60"):
        load(photos, tmp_path)


def test_images_that_are_not_square_are_found_before_anything_starts(tmp_path):
    save(tmp_path / "photos" / "train" / "cat" / "a.jpg", 1, size=(90, 60))
    (tmp_path / "photos" / "val").mkdir()
    with pytest.raises(DataMissing, match=r"a\.jpg is 90×60, not square; .*folder:PATH@64 resizes"):
        require([f"folder:{tmp_path}/photos"], tmp_path)
    require([f"folder:{tmp_path}/photos@16"], tmp_path)


def test_decoded_once_and_again_after_any_change(photos, tmp_path):
    reports = []

    def load_and_listen():
        reports.clear()
        source = dataset_source(f"folder:{photos}", tmp_path)
        source.progress = lambda *report: reports.append(report)
        return source.load()

    load_and_listen()
    assert reports == [("decoding photos/train", 4, 4), ("decoding photos/val", 2, 2)]
    load_and_listen()
    assert reports == []
    (photos / "train" / "cat" / "a.png").rename(photos / "train" / "dog" / "a.png")
    moved = load_and_listen()
    assert reports == [("decoding photos/train", 4, 4)]
    assert sorted(zip(greys(moved.train), moved.train.labels.tolist(), strict=True)) == [(1, 1), (2, 0), (3, 1), (4, 1)]


def test_digest_tells_contents_apart_and_not_machines(photos, tmp_path):
    def digest(path):
        return dataset_source(f"folder:{path}", tmp_path).digest()

    before = digest(photos)
    photos.rename(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "train" / "cat" / "a.png", (1, 1))
    assert digest(tmp_path / "elsewhere") == before
    save(tmp_path / "elsewhere" / "unlabeled" / "1.png", 1)
    assert digest(tmp_path / "elsewhere") != before


def test_digest_tells_sides_apart(photos, tmp_path):
    assert len({dataset_source(f"folder:{photos}{side}", tmp_path).digest() for side in ("", "@4", "@8")}) == 3


def test_a_relative_path_is_looked_for_here_then_under_the_root(photos, tmp_path, monkeypatch):
    assert dataset_source("folder:photos", tmp_path).folder == tmp_path / "photos"
    monkeypatch.chdir(tmp_path)
    assert dataset_source("folder:photos", tmp_path / "nowhere").folder.resolve() == photos


def test_a_path_may_hold_an_at(photos, tmp_path):
    photos.rename(tmp_path / "me@home")
    assert load(tmp_path / "me@home", tmp_path).side == 8
    assert load(f"{tmp_path}/me@home@4", tmp_path).side == 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "train").rename(folder / "training"), r"photos/train is not there"),
        (lambda folder: (folder / "val").rename(folder / "validation"), r"photos/val is not there"),
        (lambda folder: (folder / "val" / "dog" / "f.png").unlink(), r"val/dog holds no images"),
        (lambda folder: save(folder / "val" / "cow" / "1.png", 1), r"val/cow is not a class of the train split"),
        (lambda folder: (folder / "unlabeled").mkdir(), r"unlabeled holds 0 images, not some"),
        (lambda folder: (folder / "val" / "cat" / "g.png").write_bytes(b""), r"g\.png is damaged"),
        (lambda folder: [file.unlink() for file in folder.rglob("train/**/*.png")], r"photos/train holds no images"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(photos, tmp_path, change, complaint):
    change(photos)
    with pytest.raises(DataMissing, match=complaint) as caught:
        load_dataset(f"folder:{photos}", tmp_path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_statistics():
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 3, 4), np.uint8) // np.array([1, 2, 3])[:, None]
    for at_most, measured in ((10_000, images), (2, images[[0, -1]])):
        mean, std = statistics(images.astype(np.uint8), at_most=at_most)
        assert mean == pytest.approx(measured.mean(axis=(0, 1, 3)) / 255, abs=1e-4)
        assert std == pytest.approx(measured.std(axis=(0, 1, 3)) / 255, abs=1e-4)


def test_a_constant_channel_has_a_deviation_above_zero():
    assert statistics(np.zeros((3, 4, 3, 4), np.uint8)) == ((0.0, 0.0, 0.0), (0.0039, 0.0039, 0.0039))


def test_files_of_other_formats_are_counted(photos, tmp_path, caplog):
    for name in ("a.gif", "b.GIF", "c.jp2", "README", ".hidden"):
        (photos / "train/cat" / name).write_bytes(b"")
    load(photos, tmp_path)
    assert "4 files are no images that bench reads: .gif 2, .jp2 1, no ending 1" in caplog.text
    assert "is a folder" not in caplog.text
    (photos / "train/cat/9.PNG").mkdir()
    load(photos, tmp_path)
    assert "no ending 1; " in caplog.text
    assert "train/cat/9.PNG is a folder" in caplog.text
    for path in list(photos.rglob("train/**/*.png")):
        path.rename(path.with_suffix(".gif"))
    with pytest.raises(DataMissing, match=r"holds no images; 7 files are no images that bench reads: .gif 5"):
        load(photos, tmp_path)


def test_an_image_that_pillow_takes_for_a_bomb_is_not_damaged(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(DataMissing, match=r"is too large: Image size \(64 pixels\) exceeds limit of 60 pixels; make"):
        load(photos, tmp_path)


def test_what_pillow_warns_of_is_decoded_in_silence(photos, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert greys(load(photos, tmp_path).train) == [1, 2, 4, 3]
    assert not recwarn.list


def test_a_folder_that_is_really_called_like_that(photos, tmp_path):
    odd = photos.rename(tmp_path / "a,b[1]@64")
    assert load(odd, tmp_path).side == 8
    assert load("a,b[1]@64", tmp_path).side == 8
    assert load("a,b[1]@64@4", tmp_path).side == 4


def test_a_test_folder_without_classes_is_named(photos, tmp_path):
    (photos / "val").rename(photos / "test")
    for path in list(photos.glob("test/*/*.png")):
        path.rename(photos / "test" / path.name)
        path.parent.rmdir()
    with pytest.raises(DataMissing, match=r"test holds 0 images"):
        load(photos, tmp_path)


def test_a_changed_pixel_of_a_file_of_the_same_size_and_time_counts(photos, tmp_path):
    changed = photos / "train" / "cat" / "a.png"
    source = dataset_source(f"folder:{photos}", tmp_path)
    before, earlier, status = source.digest(), source.earlier_digest(), changed.stat()
    assert greys(load(photos, tmp_path).train)[0] == 1
    save(changed, 9)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changed.stat().st_size == status.st_size
    source = dataset_source(f"folder:{photos}", tmp_path)
    assert source.digest() != before
    assert source.earlier_digest() == earlier
    assert greys(load(photos, tmp_path).train)[0] == 9


def test_neither_copies_nor_touched_files_are_decoded_again(photos, tmp_path):
    load(photos, tmp_path)
    before = sorted((tmp_path / "prepared").iterdir())
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(photos)
    (tmp_path / "copy").rename(photos)
    for path in photos.rglob("*.png"):
        os.utime(path, (5, 5))
    load(photos, tmp_path)
    assert sorted((tmp_path / "prepared").iterdir()) == before


def test_an_image_that_changes_between_its_digest_and_its_decoding_is_no_wrong_array(photos, tmp_path, monkeypatch):
    digests_of = image_folders.digests.digests_of_files

    def change_after(*words):
        found = digests_of(*words)
        save(photos / "train" / "cat" / "a.png", 77)
        return found

    monkeypatch.setattr(image_folders.digests, "digests_of_files", change_after)
    with pytest.raises(DataMissing, match=r"a\.png was changed while the images were read; repeat the command"):
        load(photos, tmp_path)
    assert not list((tmp_path / "prepared").iterdir())
