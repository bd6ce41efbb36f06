import dataclasses
import json
import os
import shutil

import pytest
from PIL import Image

from protocols.datasets.load import clear_caches
from protocols.spec.earlier_images import any_run_of
from protocols.spec.grid import Request, expand, plan
from protocols.spec.plugins import dataset_source
from protocols.spec.resolve import require_same_images
from results.errors import RequestError
from results.store import CONFIG, EARLIER_IMAGES, RECORD, write_json
from tests.tools.records import empty_record

ASKED = {"methods": ["random"], "seeds": [0], "evaluations": ["knn"]}


@pytest.fixture
def photos(tmp_path):
    """Two classes, a training and a test image of each."""
    for split in ("train", "test"):
        for name, value in (("cat", 1), ("dog", 2)):
            save(tmp_path / "photos" / split / name / "1.png", value)
    return tmp_path / "photos"


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


def asked(photos, prefix="", **words):
    """The run of a request, planned by a process of its own."""
    clear_caches()
    (run,) = expand(Request(**{**ASKED, "datasets": [f"{prefix}folder:{photos}"], **words}), photos.parent)
    return run


def planned(run, photos):
    """Names of the folders to do and done, in a runs folder."""
    found = plan([run], photos.parent / "runs", photos.parent)
    return [[one.folder() for one in runs] for runs in (found.todo, found.done)]


def store(run, runs):
    """Store a run as done."""
    folder = runs / run.folder()
    folder.mkdir(parents=True)
    write_json(folder / CONFIG, run.config())
    write_json(folder / RECORD, empty_record(run.config()))
    return run.folder()


def as_earlier(run, root):
    """The run as earlier versions knew it."""
    dataset = dataclasses.replace(run.dataset, digest=dataset_source(run.dataset.name, root).earlier_digest())
    evaluations = tuple(dataclasses.replace(one, dataset=dataset) for one in run.evaluations)
    return dataclasses.replace(run, dataset=dataset, evaluations=evaluations)


@pytest.mark.parametrize("prefix", ["", "held_out:"])
def test_a_changed_pixel_makes_another_run_and_a_touched_or_copied_folder_does_not(photos, prefix):
    done = store(asked(photos, prefix), photos.parent / "runs")
    assert planned(asked(photos, prefix), photos) == [[], [done]]
    shutil.copytree(photos, photos.with_name("copy"), copy_function=shutil.copyfile)
    shutil.rmtree(photos)
    photos.with_name("copy").rename(photos)
    os.utime(photos / "train/cat/1.png", (5, 5))
    assert planned(asked(photos, prefix), photos) == [[], [done]]
    save(photos / "test/cat/1.png", 3)
    ((other,), _) = planned(asked(photos, prefix), photos)
    assert other != done
    save(photos / "test/cat/1.png", 1)
    assert planned(asked(photos, prefix), photos) == [[], [done]]
    assert not (photos.parent / "runs" / EARLIER_IMAGES).exists()


@pytest.mark.parametrize("prefix", ["", "held_out:"])
def test_runs_of_earlier_versions_are_accepted_once_and_then_known_by_content(photos, prefix, caplog):
    runs = photos.parent / "runs"
    earlier = store(as_earlier(asked(photos, prefix), photos.parent), runs)
    assert planned(asked(photos, prefix), photos) == [[], [earlier]]
    assert caplog.text.count("accepted as made of those that are there now") == 1
    assert planned(asked(photos, prefix), photos) == [[], [earlier]]
    assert len(caplog.records) == 1

    before = asked(photos, prefix, methods=["simclr"])
    ((added,), _) = planned(before, photos)
    assert added == as_earlier(before, photos.parent).folder()  # new runs stand in the same columns

    save(photos / "train/dog/1.png", 7)
    ((changed,), done) = planned(asked(photos, prefix), photos)
    assert changed == asked(photos, prefix).folder() != earlier
    assert done == []
    save(photos / "train/dog/1.png", 2)
    assert planned(asked(photos, prefix), photos) == [[], [earlier]]
    assert len(caplog.records) == 1


def test_earlier_runs_of_other_images_are_not_accepted(photos):
    runs = photos.parent / "runs"
    store(as_earlier(asked(photos), photos.parent), runs)
    save(photos / "train/dog/2.png", 7)
    run = asked(photos)
    assert planned(run, photos) == [[run.folder()], []]
    assert not (runs / EARLIER_IMAGES).exists()


def test_a_run_that_is_only_measured_on_a_data_set_is_one_of_it(tmp_path):
    elsewhere, here = {"name": "digits", "digest": ""}, {"name": "folder:photos@16", "digest": "1a2b"}
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / CONFIG, {"dataset": elsewhere, "evaluations": [{"dataset": here}]})
    assert any_run_of(tmp_path, "folder:photos@16", "1a2b")
    assert not any_run_of(tmp_path, "folder:photos@16", "3c4d")
    assert not any_run_of(tmp_path, "held_out:shapes", "1a2b")


def test_damaged_configurations_are_passed_over(photos):
    runs = photos.parent / "runs"
    earlier = as_earlier(asked(photos), photos.parent).dataset.digest
    odd = f'"{earlier}"', f'{{"dataset": "{earlier}"', f'{{"dataset": {{"name": ["{earlier}"]}}}}'
    for number, text in enumerate(odd):
        (runs / str(number)).mkdir(parents=True)
        (runs / str(number) / CONFIG).write_text(text)
    run = asked(photos)
    assert planned(run, photos) == [[run.folder()], []]


def test_what_was_accepted_is_not_forgotten_because_a_file_is_damaged(photos):
    runs = photos.parent / "runs"
    store(as_earlier(asked(photos), photos.parent), runs)
    planned(asked(photos), photos)
    text = (runs / EARLIER_IMAGES).read_text()
    for damaged in ("", text[: len(text) // 2], text.replace("a", "b").replace("1", "2")):
        (runs / EARLIER_IMAGES).write_text(damaged)
        with pytest.raises(RequestError, match=r"earlier-images\.json is damaged: .*; delete it if the images"):
            planned(asked(photos), photos)


def test_images_that_change_between_plan_and_start_are_refused(photos):
    runs = photos.parent / "runs"
    run = asked(photos)
    require_same_images(run, runs, photos.parent)
    earlier = as_earlier(run, photos.parent)
    with pytest.raises(RequestError, match="were changed after the run was planned"):
        require_same_images(earlier, runs, photos.parent)
    store(earlier, runs)
    planned(run, photos)
    require_same_images(earlier, runs, photos.parent)
    save(photos / "test/dog/1.png", 5)
    clear_caches()
    for one in (run, earlier):
        with pytest.raises(RequestError, match=r"the images of folder:.* were changed after .*; repeat the command"):
            require_same_images(one, runs, photos.parent)


def test_a_data_set_that_was_known_by_its_name_alone(tmp_path, monkeypatch, caplog):
    from protocols.datasets.imagenet_subsets import SlimageNet64

    monkeypatch.setattr(SlimageNet64, "counts", {})
    words = {**ASKED, "datasets": ["slimagenet64"]}

    def run_now():
        clear_caches()
        (run,) = expand(Request(**words), tmp_path)
        return run

    without = run_now()
    assert without.dataset.digest == ""
    done = store(without, tmp_path / "runs")
    for split in ("train", "test"):
        for name in ("n1", "n2"):
            save(tmp_path / "SlimageNet64" / split / name / "1.png", 1)
    run = run_now()
    assert run.dataset.digest
    assert [one.folder() for one in plan([run], tmp_path / "runs", tmp_path).done] == [done]
    assert json.loads((tmp_path / "runs" / EARLIER_IMAGES).read_text())["slimagenet64"] == run.dataset.digest
    save(tmp_path / "SlimageNet64" / "test" / "n1" / "1.png", 3)
    assert plan([run_now()], tmp_path / "runs", tmp_path).done == ()
    assert len(caplog.records) == 1
