"""What is deleted is what no run needs, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
from PIL import Image

from bench.cli import main
from protocols.datasets.load import clear_caches, load_dataset
from protocols.spec.grid import Request, expand
from results import store
from slurm import gc
from tests.tools.records import empty_record


def old(path, days=2.0):
    """Make a file look as if it was written days ago."""
    stamp = time.time() - days * 86400
    os.utime(path, (stamp, stamp))
    return path


def save(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


@pytest.fixture
def folder(tmp_path):
    """A folder with images and an empty runs folder."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            save(tmp_path / "photos" / split / name / "1.png")
    (tmp_path / "runs").mkdir()
    return tmp_path


def run_folder(folder, seed, *, done=False, failed=False, dataset="digits"):
    """A run's folder with everything that a run writes."""
    clear_caches()
    (run,) = expand(Request(methods=["simclr"], datasets=[dataset], seeds=[seed], evaluations=["knn"]), folder)
    path = folder / "runs" / run.folder()
    (path / store.EVALUATIONS).mkdir(parents=True)
    store.write_json(path / store.CONFIG, run.config())
    for name, size in ((store.CHECKPOINT, 3000), (store.BACKBONE, 1000), (store.EXTRA_STATE, 500)):
        (path / name).write_bytes(bytes(size))
    if done:
        store.write_json(path / store.RECORD, empty_record(run.config()))
    if failed:
        store.write_failure(path, "out of memory")
    return path


def owner(pid, host=None):
    """The text of the claim of a process."""
    here = store.this_process()
    return json.dumps(asdict(replace(here, host=host or here.host, pid=pid, started=store.process_start(pid) or "1")))


def gone():
    """The number of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def found(folder, **options):
    """Kind and path of everything that is not needed."""
    garbage = gc.take_inventory(folder / "runs", folder, **options).garbage
    return sorted((one.kind, str(one.path.relative_to(folder))) for one in garbage)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_only_finished_runs_lose_their_checkpoints(folder):
    done, open_ = run_folder(folder, 0, done=True), run_folder(folder, 1)
    run_folder(folder, 2, failed=True)
    assert found(folder) == [("checkpoint", f"runs/{done.name}/checkpoint.pt")]
    before = everything(folder)
    inventory = gc.take_inventory(folder / "runs", folder)
    assert gc.delete(inventory.garbage, folder / "runs") == []
    assert set(before) - set(everything(folder)) == {f"runs/{done.name}/checkpoint.pt"}
    assert (open_ / store.CHECKPOINT).exists()
    assert inventory.sizes["checkpoints"] == 9000
    assert inventory.sizes["weights"] == 4500


def test_weights_and_failures_go_if_asked(folder):
    done, failed = run_folder(folder, 0, done=True), run_folder(folder, 2, failed=True)
    kept = run_folder(folder, 1)
    inventory = gc.take_inventory(folder / "runs", folder, weights=True, failed=True)
    assert sorted(one.kind for one in inventory.garbage) == ["checkpoint", "failed run", "weights", "weights"]
    assert gc.delete(inventory.garbage, folder / "runs") == []
    assert not failed.exists()
    assert sorted(path.name for path in done.iterdir()) == [store.CONFIG, store.EVALUATIONS, store.RECORD]
    assert len(list(kept.iterdir())) == 5
    assert store.read_run(done).status == "done"


def test_a_run_with_an_evaluation_left_to_do_keeps_everything(folder):
    done = run_folder(folder, 0, done=True)
    config = store.read_json(done / store.CONFIG)
    more = {**config["evaluations"][0], "label": "knn[k=5]"}
    store.write_json(done / store.CONFIG, {**config, "evaluations": [*config["evaluations"], more]})
    assert found(folder, weights=True, failed=True) == []


@pytest.mark.parametrize(("host", "days"), [(None, 2), ("elsewhere", 0.5)])
def test_what_a_process_owns_is_left(folder, host, days):
    path = run_folder(folder, 0, done=True)
    (path / store.CLAIM).write_text(owner(os.getpid(), host))
    old(path / store.CLAIM, days)
    old_temporary(path / f".backbone.pt.{host or store.processes_digest()}.{gone()}.0123abcd")
    assert found(folder, weights=True, failed=True) == []


def test_a_run_that_is_claimed_after_the_list_was_made_is_left(folder):
    path = run_folder(folder, 0, done=True)
    failed = run_folder(folder, 1, failed=True)
    garbage = gc.take_inventory(folder / "runs", folder, failed=True).garbage
    (path / store.CLAIM).write_text(owner(os.getppid()))
    store.write_json(failed / store.RECORD, empty_record(store.read_json(failed / store.CONFIG)))
    left = gc.delete(garbage, folder / "runs")
    assert len(left) == 2
    assert "is being run by another process" in "".join(left)
    assert "it is done by now" in "".join(left)
    assert (path / store.CHECKPOINT).exists()
    assert (failed / store.CHECKPOINT).exists()


def old_temporary(path, days=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12")
    return old(path, days)


def test_killed_processes_leave_nothing(folder):
    path, pid, host = run_folder(folder, 0), gone(), store.processes_digest()
    (path / store.CLAIM).write_text(owner(pid))
    (folder / "prepared").mkdir()
    names = {
        path / f".checkpoint.pt.{host}.{pid}.0123abcd": True,
        path / f"claim.json.{host}.{pid}.0123abcd": True,
        path / store.EVALUATIONS / f".knn.json.{host}.{pid}.0123abcd": True,
        folder / "runs" / f"..index.json.{host}.{pid}.0123abcd": True,
        folder / "runs" / "tuning" / f".search-1.json.{host}.{pid}.0123abcd": True,
        folder / "runs" / ".submissions" / "1" / f".submission.json.{host}.{pid}.0123abcd": True,
        folder / "prepared" / f".photos.npy.{host}.{pid}.0123abcd": True,
        folder / "prepared" / f".photos.npy.elsewhere.{pid}.0123abcd": True,
        path / f".checkpoint.pt.{host}.{os.getpid()}.0123abcd": False,
        folder / "prepared" / f".mine.{host}.{pid}": False,
        folder / "prepared" / "notes.txt": False,
    }
    for name in names:
        old_temporary(name)
    old_temporary(folder / "prepared" / f".young.npy.elsewhere.{pid}.0123abcd", 0.5)
    old_temporary(folder / "runs" / f".being_written.json.{host}.{os.getpid()}.0123abcd")
    expected = [str(name.relative_to(folder)) for name, is_left_over in names.items() if is_left_over]
    assert found(folder) == sorted(
        ("leftover", name) for name in [*expected, str((path / store.CLAIM).relative_to(folder))]
    )


def test_prepared_images_are_kept_for_the_data_sets_of_the_runs(folder):
    load_dataset(f"folder:{folder}/photos", folder)
    clear_caches()
    load_dataset(f"folder:{folder}/photos@4", folder)
    needed = f"folder:{folder}/photos@4"
    run_folder(folder, 0, dataset=needed)
    arrays = {path.name for path in (folder / "prepared").iterdir()}
    assert len(arrays) == 6
    assert found(folder, prepared=True) == []  # they have just been made
    for path in (folder / "prepared").iterdir():
        old(path)
    assert found(folder) == []  # runs of other folders may be of them
    unneeded = [name for name in arrays if "-8px-" in name]
    assert found(folder, prepared=True) == [("prepared images", f"prepared/{name}") for name in sorted(unneeded)]
    unlisted = gc.take_inventory(folder / "runs", folder).unlisted
    assert unlisted == sum((folder / "prepared" / name).stat().st_size for name in unneeded)
    gc.delete(gc.take_inventory(folder / "runs", folder, prepared=True).garbage, folder / "runs")
    before = everything(folder / "prepared")
    assert len(before) == 3
    clear_caches()
    load_dataset(needed, folder)
    assert everything(folder / "prepared") == before
    save(folder / "photos/train/cat/1.png", 200)
    stale = [path for _, path in found(folder, prepared=True)]
    assert stale
    assert all("photos-train-4px" in path for path in stale)


def test_images_are_left_where_it_is_not_known_what_is_needed(folder):
    load_dataset(f"folder:{folder}/photos", folder)
    path = run_folder(folder, 0, dataset=f"folder:{folder}/photos")
    for array in (folder / "prepared").iterdir():
        old(array)
    (folder / "photos").rename(folder / "away")
    assert found(folder, prepared=True) == []
    (note,) = gc.take_inventory(folder / "runs", folder).notes
    assert "prepared images are left: " in note
    assert "photos is not there" in note
    (path / store.CONFIG).write_text("{")
    assert found(folder, prepared=True) == []
    assert "config.json is damaged" in gc.take_inventory(folder / "runs", folder).notes[0]


def test_what_a_killed_writer_of_an_array_left(folder):
    """Until the array is complete it is what the next command goes on with."""
    load_dataset(f"folder:{folder}/photos", folder)
    run_folder(folder, 0, dataset=f"folder:{folder}/photos")
    (array,) = (folder / "prepared").glob("*train*.npy")
    left = [array.with_suffix(end) for end in (".partial", ".progress", ".lock")]
    for path in (*left, *(folder / "prepared" / f"unknown{path.suffix}" for path in left)):
        old_temporary(path)
    unknown = [("prepared images", f"prepared/unknown{end}") for end in (".lock", ".partial", ".progress")]
    old(array)
    complete = sorted(("leftover", f"prepared/{path.name}") for path in left)
    assert found(folder) == complete
    assert found(folder, prepared=True) == [*complete, *unknown]
    old(left[1], days=0.01)
    assert found(folder) == []  # a lock is old, while its array is being written
    old(left[1])
    array.unlink()
    assert found(folder, prepared=True) == unknown


def test_links_are_not_followed(folder):
    outside = shutil.move(run_folder(folder, 0, done=True), folder / "outside")
    (folder / "runs" / "digits-link").symlink_to(outside)
    inside = run_folder(folder, 1, done=True)
    (inside / store.CHECKPOINT).unlink()
    (inside / store.CHECKPOINT).symlink_to(folder / "outside" / store.CHECKPOINT)
    gc.delete(gc.take_inventory(folder / "runs", folder, weights=True, failed=True).garbage, folder / "runs")
    assert (folder / "outside" / store.CHECKPOINT).stat().st_size == 3000
    assert (folder / "outside" / store.BACKBONE).exists()


def test_the_command_lists_first_and_deletes_if_told(folder, monkeypatch, capsys):
    done = run_folder(folder, 0, done=True)
    monkeypatch.chdir(folder)

    def command(*words, runs="runs"):
        monkeypatch.setattr(sys, "argv", ["bench", "gc", "--runs", runs, "--data", ".", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().out

    code, listed = command()
    assert code == 0
    assert f"3 kB  checkpoint  runs/{done.name}/checkpoint.pt  the run is done" in listed
    assert "not needed: 1 files or folders, 3 kB; --delete deletes them" in listed
    assert "weights 1.5 kB" in listed
    assert (done / store.CHECKPOINT).exists()
    assert "deleted: 1 files" in command("--delete")[1]
    assert not (done / store.CHECKPOINT).exists()
    assert "nothing to delete" in command()[1]
    assert command(runs="nowhere")[0] == 2
