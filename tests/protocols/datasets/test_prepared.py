import io
import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from protocols.datasets import prepared
from results.errors import DataMissing
from results.store import read_json, write_json

SHAPE = (3, 2, 3, 2)
PIXELS = np.arange(36, dtype=np.uint8).reshape(SHAPE)


def chunks():
    yield PIXELS[:2]
    yield PIXELS[2:]


def refuse():
    raise AssertionError("read again")


def test_kept_once_then_mapped(tmp_path):
    path = tmp_path / "new" / "folder" / "images.npy"
    assert np.array_equal(prepared.load_or_write(path, SHAPE, chunks), PIXELS)
    again = prepared.load_or_write(path, SHAPE, refuse)
    assert isinstance(again, np.memmap)
    assert np.array_equal(again, PIXELS)
    again[:] = 0
    assert np.array_equal(prepared.load_or_write(path, SHAPE, refuse), PIXELS)
    assert [file.name for file in path.parent.iterdir()] == ["images.npy"]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "occupied").write_text("a file where a folder is wanted")
    with caplog.at_level(logging.WARNING):
        images = prepared.load_or_write(tmp_path / "occupied" / "images.npy", SHAPE, chunks)
    assert np.array_equal(images, PIXELS)
    assert len(caplog.records) == 1
    assert str(tmp_path / "occupied") in caplog.text
    assert "stay in memory" in caplog.text


def test_an_error_while_reading_leaves_nothing_behind(tmp_path):
    def broken():
        yield PIXELS[:2]
        raise DataMissing("b.jpg is damaged")

    with pytest.raises(DataMissing, match=r"b\.jpg"):
        prepared.load_or_write(tmp_path / "images.npy", SHAPE, broken)
    assert not list(tmp_path.iterdir())


def an_archive():
    """What NumPy reads as several arrays."""
    np.savez(archive := io.BytesIO(), PIXELS)
    return archive.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"no array", "short", an_archive()], ids=["empty", "text", "short", "archive"]
)
def test_a_damaged_array_is_named_and_written_again(tmp_path, content, caplog):
    path = tmp_path / "images.npy"
    prepared.load_or_write(path, SHAPE, chunks)
    path.write_bytes(path.read_bytes()[:-1] if content == "short" else content)
    assert np.array_equal(prepared.load_or_write(path, SHAPE, chunks), PIXELS)
    assert "images.npy is damaged" in caplog.text
    assert "it is written again" in caplog.text
    assert np.array_equal(prepared.load_or_write(path, SHAPE, refuse), PIXELS)


def test_no_change_of_a_bit_of_an_array_is_silent(tmp_path, caplog):
    path, g = tmp_path / "images.npy", np.random.default_rng(0)
    prepared.load_or_write(path, SHAPE, chunks)
    written = path.read_bytes()
    for position in g.choice(8 * len(written), 300, replace=False):
        damaged = bytearray(written)
        damaged[position // 8] ^= 1 << int(position) % 8
        path.write_bytes(damaged)
        caplog.clear()
        assert np.array_equal(prepared.load_or_write(path, SHAPE, chunks), PIXELS)
        assert "it is written again" in caplog.text


def test_images_of_another_set_under_the_name_are_not_taken(tmp_path, caplog):
    prepared.load_or_write(tmp_path / "mine.npy", SHAPE, chunks)
    prepared.load_or_write(tmp_path / "yours.npy", SHAPE, lambda: (255 - chunk for chunk in chunks()))
    shutil.copy(tmp_path / "yours.npy", tmp_path / "mine.npy")
    assert np.array_equal(prepared.load_or_write(tmp_path / "mine.npy", SHAPE, chunks), PIXELS)
    assert "belongs to something else" in caplog.text


def test_an_array_of_an_earlier_version_is_accepted_once_and_sealed(tmp_path, caplog):
    np.save(tmp_path / "images.npy", PIXELS)
    for notices in (1, 1):
        assert np.array_equal(prepared.load_or_write(tmp_path / "images.npy", SHAPE, refuse), PIXELS)
        assert len(caplog.records) == notices


def test_a_large_array_is_compared_with_its_checksum_when_it_changed(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(prepared, "ALWAYS_CHECKED", 10)
    path, checked = tmp_path / "images.npy", []
    prepared.load_or_write(path, SHAPE, chunks)
    check = prepared.seal.check
    monkeypatch.setattr(prepared.seal, "check", lambda *given: checked.append(given) or check(*given))
    for _ in range(2):
        prepared.load_or_write(path, SHAPE, refuse)
    assert len(checked) <= 1
    path.write_bytes(path.read_bytes()[:-30] + bytes(30))
    assert np.array_equal(prepared.load_or_write(path, SHAPE, chunks), PIXELS)
    assert "it is written again" in caplog.text


def test_place_follows_every_change(tmp_path):
    file = prepared.File("cat/1.jpg", 100, 5)
    places = [
        prepared.array_path(tmp_path, "mine-train", 64, True, file),
        prepared.array_path(tmp_path, "mine-train", 64, False, file),
        prepared.array_path(tmp_path, "mine-train", 32, True, file),
        prepared.array_path(tmp_path, "mine-train", 64, True, file, file),
        *(
            prepared.array_path(tmp_path, "mine-train", 64, True, other)
            for other in (file._replace(path="dog/1.jpg"), file._replace(size=101), file._replace(changed=6))
        ),
    ]
    assert len(set(places)) == len(places)
    assert prepared.array_path(tmp_path, "mine-train", 64, True, file) == places[0]
    assert prepared.array_path(tmp_path, "a b/c", 64, file).name.startswith("a_b_c-64px-")


def test_scan(tmp_path):
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png", "deep/er/c.webp", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    files = sorted(prepared.scan(tmp_path))
    assert [file.path for file in files] == ["a.jpeg", "b.PNG", "deep/er/c.webp", "link/er/c.webp"]
    assert files[0].size == 5
    assert files[0].changed == (tmp_path / "a.jpeg").stat().st_mtime_ns


def test_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataMissing, match=r"cannot read .*a\.png: No such file"):
        list(prepared.scan(tmp_path))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_decoding_equals_pillow(tmp_path, mode):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    path = tmp_path / "image.tiff"
    Image.fromarray(noise).convert(mode).save(path)
    assert np.array_equal(prepared.decode_image(path, 16, resize=False), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("size", [(600, 400), (400, 600), (20, 30)])
def test_resizing_takes_the_largest_centred_square(tmp_path, size):
    path = tmp_path / "image.jpg"
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inside = np.maximum(abs(x - (width - 1) / 2), abs(y - (height - 1) / 2)) < min(size) / 2
    Image.fromarray(np.where(inside, 200, 0).astype(np.uint8)).save(path, quality=95)
    decoded = prepared.decode_image(path, 32, resize=True)
    assert decoded.shape == (32, 32, 3)
    assert decoded[4:-4, 4:-4].min() > 180
    assert decoded.mean() > 190


def test_another_size_is_refused_unless_asked_for(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "wide.png")
    with pytest.raises(DataMissing, match=r"wide\.png is 30×20, not 16×16.*@SIDE"):
        prepared.decode_image(tmp_path / "wide.png", 16, resize=False)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataMissing, match=r"deep\.png has more than 8 bits"):
        prepared.decode_image(tmp_path / "deep.png", 8, resize=True)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("left", [0, 10, 300])
def test_a_truncated_image_is_named(tmp_path, kind, left):
    path = tmp_path / f"half.{kind}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataMissing, match=rf"half\.{kind} is damaged") as caught:
        prepared.decode_image(path, 64, resize=False)
    assert "\n" not in str(caught.value)


def test_order_survives_the_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "CHUNK", 7)
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        Image.new("RGB", (2, 2), (i, i, i)).save(path)
    done = []
    images = np.concatenate([chunk.copy() for chunk in decoder_of(paths, resize=False, report=done.append)()])
    assert images[:, 0, 0, 0].tolist() == list(range(20))
    assert done == [7, 14, 20]


def decoder_of(paths, *, resize=True, by_torchvision=False, report=lambda done: None):
    def decode(number):
        return prepared.decode_image(paths[number], 2, resize=resize, by_torchvision=by_torchvision)

    return prepared.Decoder(len(paths), 2, decode, report)


@pytest.fixture
def small_images(tmp_path, monkeypatch):
    """Twenty images in chunks of seven."""
    monkeypatch.setattr(prepared, "CHUNK", 7)
    paths = [tmp_path / "images" / f"{i}.png" for i in range(20)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.new("RGB", (2, 2), (i, i, i)).save(path)
    return paths


@pytest.mark.parametrize("killed_after", [7, 14, 20])
def test_a_killed_preparation_goes_on_behind_the_last_finished_chunk(tmp_path, small_images, killed_after):
    path, decoded = tmp_path / "prepared" / "images.npy", []

    def killed(done):
        if done == killed_after:
            raise KeyboardInterrupt  # before the next chunk is written, and after this one was

    with pytest.raises(KeyboardInterrupt):
        prepared.load_or_write(path, (20, 2, 3, 2), decoder_of(small_images, report=killed))
    with (tmp_path / "prepared" / "images.partial").open("ab") as file:
        file.write(b"half of a chunk")
    for done_before in small_images[:killed_after]:
        done_before.unlink()
    again = prepared.load_or_write(path, (20, 2, 3, 2), decoder_of(small_images, report=decoded.append))
    assert again[:, 0, 0, 0].tolist() == list(range(20))
    assert decoded == [done for done in (14, 20) if done > killed_after]
    assert [file.name for file in path.parent.iterdir()] == ["images.npy"]
    assert np.array_equal(prepared.load_or_write(path, (20, 2, 3, 2), refuse), again)


def flip_of_unfinished(folder):
    content = bytearray((folder / "images.partial").read_bytes())
    content[-5] ^= 1
    (folder / "images.partial").write_bytes(content)


def count_of(value):
    def damage(folder):
        write_json(folder / "images.progress", {**read_json(folder / "images.progress"), "images": value})

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        flip_of_unfinished,
        lambda folder: os.truncate(folder / "images.partial", 150),
        lambda folder: (folder / "images.partial").unlink(),
        lambda folder: (folder / "images.progress").write_text("{"),
        lambda folder: (folder / "images.progress").write_text("{}"),
        *map(count_of, (0, 5, 1000, -1, "7", None, 7.0)),
    ],
)
def test_what_is_not_as_it_was_written_is_decoded_again(tmp_path, small_images, damage):
    path, decoded = tmp_path / "images.npy", []

    def killed(done):
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared.load_or_write(path, (20, 2, 3, 2), decoder_of(small_images, report=killed))
    damage(tmp_path)
    images = prepared.load_or_write(path, (20, 2, 3, 2), decoder_of(small_images, report=decoded.append))
    assert images[:, 0, 0, 0].tolist() == list(range(20))
    assert decoded == [7, 14, 20]


def test_a_damaged_count_of_finished_images_begins_again(tmp_path, small_images):
    path = tmp_path / "images.npy"
    (tmp_path / "images.partial").write_bytes(bytes(1000))
    (tmp_path / "images.progress").write_text("{")
    images = prepared.load_or_write(path, (20, 2, 3, 2), decoder_of(small_images))
    assert images[:, 0, 0, 0].tolist() == list(range(20))


def test_a_damaged_image_leaves_no_unfinished_array(tmp_path, small_images):
    small_images[15].write_bytes(b"no image")
    with pytest.raises(DataMissing, match=r"15\.png is damaged"):
        prepared.load_or_write(tmp_path / "prepared" / "images.npy", (20, 2, 3, 2), decoder_of(small_images))
    assert not list((tmp_path / "prepared").iterdir())


def test_images_for_which_neither_disk_nor_memory_suffices_are_refused(tmp_path, small_images, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 100))
    monkeypatch.setattr(prepared.os, "sysconf", lambda name: 10)
    with pytest.raises(DataMissing, match=r"cannot write .* of prepared images to .*prepared: .* less room; make room"):
        prepared.load_or_write(tmp_path / "prepared" / "images.npy", (20, 2, 3, 2), decoder_of(small_images))


def test_statistics_are_measured_once(tmp_path, monkeypatch):
    images = prepared.load_or_write(tmp_path / "images.npy", SHAPE, chunks)
    measured = prepared.load_or_measure_statistics(images)
    assert measured == prepared.statistics(PIXELS)
    monkeypatch.setattr(prepared, "statistics", None)
    assert prepared.load_or_measure_statistics(images) == measured


@pytest.mark.parametrize("size", [(500, 375), (375, 501), (90, 64), (40, 30)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_torchvision_resizes_the_centred_square_as_pillow_does(tmp_path, size, mode, kind):
    if (mode, kind) == ("CMYK", "png"):
        pytest.skip("PNG has no CMYK")
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height // 5, width // 5, 3), np.uint8)
    path, square = tmp_path / f"image.{kind}", min(size)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    left, top = (width - square) // 2, (height - square) // 2
    with Image.open(path) as image:
        cropped = image.convert("RGB").crop((left, top, left + square, top + square))
    expected = np.asarray(cropped.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    decoded = prepared.decode_image(path, 64, resize=True, by_torchvision=True)
    assert decoded.shape == (64, 64, 3)
    assert abs(decoded - expected).max() <= 2


@pytest.mark.parametrize(
    ("mode", "options", "size"),
    [
        ("RGB", {}, (45, 70)),
        ("RGB", {"progressive": True, "exif": b"Exif\0\0" + b"x" * 5000}, (45, 70)),
        ("L", {}, (45, 70)),
        ("CMYK", {}, None),
    ],
)
def test_the_size_of_a_jpeg_is_in_its_frame_header(mode, options, size):
    """At any place, or, where it is cut off, nowhere."""
    content = io.BytesIO()
    Image.new(mode, (70, 45)).save(content, "JPEG", **options)
    found = [prepared.jpeg_size(content.getvalue()[:length]) for length in range(len(content.getvalue()) + 1)]
    assert found[-1] == size
    assert set(found) == {None, size}


def test_what_is_no_jpeg_has_no_size_of_one():
    content = io.BytesIO()
    Image.new("RGB", (70, 45)).save(content, "PNG")
    assert prepared.jpeg_size(content.getvalue()) is None
    assert prepared.jpeg_size(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 20) is None


def test_torchvision_ignores_orientation_as_pillow_does(tmp_path):
    image, exif = Image.new("RGB", (90, 60)), Image.Exif()
    image.paste((255, 255, 255), (0, 0, 90, 30))
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    decoded = prepared.decode_image(tmp_path / "turned.jpg", 16, resize=True, by_torchvision=True)
    assert decoded[:6].min() > 200
    assert decoded[-6:].max() < 50


@pytest.mark.parametrize("left", [0, 10, 300, 1500])
def test_a_jpeg_that_torchvision_cannot_decode_is_named(tmp_path, left):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "half.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "half.jpg").read_bytes()[:left])
    with pytest.raises(DataMissing, match=r"half\.jpg is damaged") as caught:
        prepared.decode_image(tmp_path / "half.jpg", 32, resize=True, by_torchvision=True)
    assert "\n" not in str(caught.value)


def test_sixteen_bits_and_bombs_are_refused_before_torchvision_decodes(tmp_path, monkeypatch):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataMissing, match=r"deep\.png has more than 8 bits"):
        prepared.decode_image(tmp_path / "deep.png", 4, resize=True, by_torchvision=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "huge.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(DataMissing, match=r"huge\.jpg is too large"):
        prepared.decode_image(tmp_path / "huge.jpg", 4, resize=True, by_torchvision=True)
