import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from results import store
from results.errors import Busy, DamagedFile, RequestError
from tests.tools.damages import a_broken_link, a_device, a_folder, a_link_loop, a_pipe


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_json_is_written_whole_and_canonical(tmp_path):
    path = tmp_path / "x.json"
    store.write_json(path, {"b": 1.5, "a": [1, None]})
    lines = path.read_text().splitlines(keepends=True)
    plain = lines[0] + "".join(lines[2:])
    assert plain == '{\n "a": [\n  1,\n  null\n ],\n "b": 1.5\n}\n'
    assert lines[1] == f' "sha256": "{hashlib.sha256(plain.encode()).hexdigest()}",\n'
    assert store.read_json(path) == {"a": [1, None], "b": 1.5}
    assert names_in(tmp_path) == ["x.json"]


def test_what_is_not_a_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not names_in(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000])
def test_a_number_that_is_none_is_damage(tmp_path, number):
    for text in (f'{{"value": {number}}}', f'{{"name": "\\udcff", "value": {number}}}'):
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(DamagedFile, match="not JSON"):
            store.read_json(tmp_path / "file.json")


def test_names_in_other_encodings_are_read_back(tmp_path):
    values = {"command": os.fsdecode(b"bench run --methods ./caf\xe9.py"), "lr": 1e-3, "n": 5}
    store.write_json(tmp_path / "file.json", values)
    assert store.read_json(tmp_path / "file.json") == values


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def disk_full(temporary):
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write_atomically(path, disk_full)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["x"]


MEASURED = min((Path(__file__).parents[2] / "results" / "measured" / "quick-shapes").glob("*-s0-*"))
CONFIG, RECORD = ((MEASURED / name).read_text(encoding="utf-8") for name in (store.CONFIG, store.RECORD))


WRITER = """
import sys
from pathlib import Path
from results.store import write_json
path, n = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    n += 1
    write_json(path, {"n": n, "padding": ["x" * 1000] * 300})
"""


def test_a_file_survives_every_kill(tmp_path):
    path = tmp_path / "record.json"
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.02 + 0.011 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if path.exists():
            assert len(json.loads(path.read_text())["padding"]) == 300
    assert path.exists()
    store.remove_temporary_files(tmp_path)
    assert names_in(tmp_path) == ["record.json"]


def test_a_claim_keeps_others_out_and_goes_when_done(tmp_path):
    folder = tmp_path / "run"
    with store.claimed(folder):
        with pytest.raises(Busy), store.claimed(folder):
            pass
        assert (folder / store.CLAIM).exists()
    with store.claimed(folder):
        pass
    assert not names_in(folder)


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path):
    code = "import sys,time; from pathlib import Path; from results.store import claimed\n"
    code += "with claimed(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(Busy), store.claimed(tmp_path):
        pass
    process.kill()
    process.wait()
    with store.claimed(tmp_path):
        pass


def test_the_claim_of_a_process_whose_number_was_given_again_is_taken_over(tmp_path):
    claim = tmp_path / store.CLAIM
    claim.write_text(json.dumps({"host": store.socket.gethostname(), "pid": os.getpid(), "started": "1"}))
    with store.claimed(tmp_path):
        pass


def test_the_claim_of_another_machine_lasts_as_long_as_its_heart_beats(tmp_path, monkeypatch):
    claim, heartbeat = tmp_path / store.CLAIM, tmp_path / store.HEARTBEAT
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    long_ago = time.time() - store.HEARTBEAT_TIMEOUT_S - 1
    os.utime(claim, (long_ago, long_ago))
    heartbeat.touch()
    with pytest.raises(Busy), store.claimed(tmp_path):
        pass
    os.utime(heartbeat, (long_ago, long_ago))
    monkeypatch.setattr(store, "WATCH_S", 0.01)
    with store.claimed(tmp_path):
        pass


def test_of_many_that_take_over_an_abandoned_claim_one_succeeds(tmp_path):
    processes, rounds = multiprocessing.get_context("fork"), 100
    barrier = processes.Barrier(6)
    taken = [processes.Value("i", 0) for _ in range(rounds)]

    def take():
        for number in range(rounds):
            claim = tmp_path / str(number) / store.CLAIM
            barrier.wait()
            with contextlib.suppress(Busy):
                store.take_claim(claim)
                with taken[number].get_lock():
                    taken[number].value += 1
        barrier.wait()  # whoever took a claim lives until all have tried

    dead = {"host": store.socket.gethostname(), "pid": 2**22 + 1, "started": "1"}
    for number in range(rounds):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / store.CLAIM).write_text(json.dumps(dead))
    started = [processes.Process(target=take) for _ in range(6)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [count.value for count in taken] == [1] * rounds
    assert {path.name for path in tmp_path.glob("*/*")} == {store.CLAIM, store.CLAIM_LOCK}


def test_a_silent_owner_elsewhere_is_watched_before_its_claim_is_taken(tmp_path, monkeypatch):
    """A clock that was set forward makes a living owner look silent."""
    claim, heartbeat = tmp_path / store.CLAIM, tmp_path / store.HEARTBEAT
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    heartbeat.touch()
    later = time.time() + 2 * store.HEARTBEAT_TIMEOUT_S
    monkeypatch.setattr(store.time, "time", lambda: later)
    monkeypatch.setattr(store.time, "sleep", lambda _: os.utime(heartbeat))
    with pytest.raises(Busy), store.claimed(tmp_path):
        pass
    monkeypatch.setattr(store.time, "sleep", lambda _: None)
    with store.claimed(tmp_path):
        pass


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, monkeypatch):
    """At once where its number is known to be nobody's, else after a day; what is being written stays."""
    mine = store.temporary_name("file").split(".")
    gone = [*mine[:2], str(2**22 + 1), "00000001"]
    elsewhere, silent = ["file", "other", "1", "00000002"], ["file", "other", "1", "00000003"]
    paths = [tmp_path / f".{'.'.join(name)}" for name in (mine, gone, elsewhere, silent)]
    for path in paths:
        path.touch()
    os.utime(paths[3], (time.time() - 2 * store.LEFT_OVER_S,) * 2)
    (tmp_path / ".filename.1.2.3").touch()
    store.write_atomically(tmp_path / "file", lambda path: path.write_text("content"))
    assert set(names_in(tmp_path)) == {"file", ".filename.1.2.3", paths[0].name, paths[2].name}


def test_equal_host_names_with_other_processes_are_other_machines(tmp_path, monkeypatch):
    """As of two containers: the owner's number says nothing here."""
    owner = {"host": store.socket.gethostname(), "pid": 2**22 + 1, "started": "1", "processes": "another boot"}
    (tmp_path / store.CLAIM).write_text(json.dumps(owner))
    with pytest.raises(Busy), store.claimed(tmp_path):
        pass


def test_a_claim_that_was_taken_over_is_not_given_back_by_its_first_owner(tmp_path):
    with store.claimed(tmp_path):
        (tmp_path / store.CLAIM).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    assert (tmp_path / store.CLAIM).exists()


def test_a_damaged_claim_is_taken_over_once_it_is_old(tmp_path):
    claim = tmp_path / store.CLAIM
    claim.write_text("{")
    start = time.monotonic()
    with store.claimed(tmp_path):
        assert time.monotonic() - start > 0.5
    claim.write_text("{")
    os.utime(claim, (time.time() - 5,) * 2)
    start = time.monotonic()
    with store.claimed(tmp_path):
        assert time.monotonic() - start < 0.5


def test_a_claim_that_is_just_being_written_is_respected(tmp_path):
    claim = tmp_path / store.CLAIM
    claim.write_text("{")
    whole = json.dumps(asdict(store.this_process()))
    writer = threading.Timer(0.2, lambda: claim.write_text(whole))
    writer.start()
    with pytest.raises(Busy), store.claimed(tmp_path):
        pass
    writer.join()
    assert claim.read_text() == whole


@pytest.mark.parametrize("damage", [a_folder, a_broken_link, a_link_loop, a_pipe, a_device], ids=lambda d: d.__name__)
def test_whatever_lies_in_the_place_of_a_claim_is_replaced(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(store, "CLAIM_WRITTEN_S", 0.05)
    claim = tmp_path / store.CLAIM
    claim.touch()
    damage(claim)
    with store.claimed(tmp_path):
        assert store.read_claim(claim) == store.this_process()
    assert not os.path.lexists(claim)


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, "unreadable"),
        ({"config.json": CONFIG}, "unfinished"),
        ({"config.json": CONFIG, "failure.json": '{"reason": "x"}'}, "failed"),
        ({"config.json": CONFIG, "failure.json": "{}"}, "failed"),
        ({"config.json": CONFIG, "record.json": RECORD, "failure.json": "{}"}, "done"),
        ({"config.json": CONFIG, "record.json": RECORD.replace('"schema": 1', '"schema": 99')}, "unreadable"),
        ({"config.json": CONFIG, "record.json": RECORD.replace('"seed": 0', '"seed": 1')}, "unreadable"),
        ({"config.json": CONFIG, "record.json": '{"sche'}, "unreadable"),
        ({"config.json": CONFIG, "record.json": ""}, "unreadable"),
        ({"config.json": "[1]"}, "unreadable"),
        ({"config.json": "{}"}, "unreadable"),
        ({"config.json": CONFIG, "record.json": "[]"}, "unreadable"),
    ],
)
def test_a_folder_is_read_whatever_is_in_it(tmp_path, files, status):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    stored = store.read_run(tmp_path)
    assert stored.status == status
    assert bool(stored.problem) == (status == "unreadable")
    assert bool(stored.failure) == (status == "failed")


def test_folders_that_are_no_runs_are_passed_over(tmp_path):
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / store.CONFIG).write_text(CONFIG)
    (tmp_path / "notes").mkdir()
    assert [stored.folder.name for stored in store.read_runs(tmp_path)] == ["a-run"]
    assert store.read_runs(tmp_path / "nowhere") == []


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"cannot write to .*file/runs"):
        store.require_writable(tmp_path / "file" / "runs")
    store.require_writable(tmp_path / "new" / "runs")
    assert names_in(tmp_path) == ["file"]
    store.require_writable(tmp_path)
    assert names_in(tmp_path) == ["file"]


def test_discarding_leaves_the_configuration_only(tmp_path):
    for name in (store.CONFIG, store.RECORD, store.BACKBONE, store.ATTEMPTS):
        (tmp_path / name).touch()
    (tmp_path / store.EVALUATIONS).mkdir()
    store.discard(tmp_path)
    assert names_in(tmp_path) == [store.CONFIG]


def attempt(started, **code):
    return {"started": started, "commit": "", "dirty": False, **code}


def test_attempts_are_read_as_they_were_added(tmp_path):
    said = []
    for number in range(3):
        store.add_attempt(tmp_path, {"commit": f"{number}", "dirty": number == 1}, said.append)
    found = store.read_attempts(tmp_path, said.append)
    assert [(one["commit"], one["dirty"]) for one in found] == [("0", False), ("1", True), ("2", False)]
    assert said == []


@pytest.mark.parametrize(
    ("content", "left", "lines"),
    [
        (b'{"started": "a"}\n{"sta\n{"started": "b"}\n', ["a", "b"], 1),
        (b'{"started": "a"}\n[1]\n{"started": 5}\n{"dirty": true}\n\xff\xfe\n', ["a"], 4),
        (b'{"started": "a"}\n{"started"', ["a"], 1),
        (b"[" * 100_000, [], 1),
    ],
)
def test_damaged_attempts_are_named_once_and_left_out(tmp_path, content, left, lines):
    said = []
    (tmp_path / store.ATTEMPTS).write_bytes(content)
    assert store.read_attempts(tmp_path) == [attempt(started) for started in left]
    for _ in range(2):
        store.add_attempt(tmp_path, {}, said.append)
    (line,) = said
    assert f"{store.ATTEMPTS} is damaged: {lines} of its lines" in line
    assert [one["started"] for one in store.read_attempts(tmp_path)][: len(left)] == left
    assert len(store.read_attempts(tmp_path)) == len(left) + 2


@pytest.mark.parametrize("damage", [a_folder, a_broken_link, a_link_loop, a_pipe, a_device], ids=lambda d: d.__name__)
def test_whatever_lies_in_the_place_of_attempts_is_replaced(tmp_path, damage):
    said, path = [], tmp_path / store.ATTEMPTS
    path.touch()
    damage(path)
    store.add_attempt(tmp_path, {}, said.append)
    assert len(said) == 1
    assert len(store.read_attempts(tmp_path)) == 1
