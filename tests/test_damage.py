"""Damage to every kind of file that is read: it is named, or made again; never a traceback, never a wrong number."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.commands import show
from protocols.datasets import prepared
from protocols.pretrain import checkpoint
from results import store
from results.analysis.frame import load_runs
from results.errors import DamagedFile, ForeignFile
from slurm.status import read_status
from tests.tools import forked
from tests.tools.damages import a_broken_link, a_device, a_folder, a_link_loop, a_pipe, empty, huge, set_value, zeros

WORDS = ["run", "--methods", "random,graph_nnclr", "--datasets", "digits", "--seeds", "0", "--views", "512"]
WORDS += ["--jobs", "1", "--evaluations", "knn", "--refine", "concatenated", "--set", "pretrain.precision=float32"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with two runs, and the numbers of each."""
    folder = tmp_path_factory.mktemp("damage")
    done = forked.bench(*WORDS, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert forked.bench("status", cwd=folder).returncode == 0
    return folder


@pytest.fixture
def copy(measured, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(measured, tmp_path / "work"))


def numbers(folder):
    """Every number of every record, in the order of the runs' names."""
    records = [store.read_json(path) for path in sorted(folder.glob("runs/*/record.json"))]
    return [
        (r["run"]["fingerprint"], [(m["label"], m["refinement"], m["value"]) for m in r["metrics"]]) for r in records
    ]


def the_run(folder, method="graph_nnclr"):
    (path,) = folder.glob(f"runs/*{method}*")
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[random.Random(str(path.name)).randrange(len(content))] ^= 4
    path.write_bytes(content)


def other_type(path):
    path.write_text("[1, null]")


def nothing(path):
    path.write_text("{}")


def deep(path):
    path.write_text("[" * 100_000)


def not_utf8(path):
    path.write_bytes(b'{"a": "\xff\xfe"}')


IN_ITS_PLACE = [a_folder, a_broken_link, a_pipe, a_device, a_link_loop, huge]
DAMAGES = [cut, empty, flip, zeros, other_type, nothing, deep, not_utf8, *IN_ITS_PLACE]


IMPOSSIBLE = {
    store.RECORD: [
        *(
            set_value("metrics", 0, "value", value=value)
            for value in (float("nan"), 1e400, "99", None, -5, 250.0, True)
        ),
        *(set_value("metrics", 0, key, value=value) for key, value in (("n", 0), ("label", None), ("metric", {}))),
        *(set_value("metrics", value=value) for value in ({}, 5, [1])),
        *(set_value("schema", value=value) for value in (99, "1", None)),
        *(set_value("history", value=value) for value in ([{"loss": "x"}], "abc", [5])),
        *(set_value("cost", key, value=value) for key, value in (("seconds", []), ("views", "many"), ("device", None))),
        *(set_value("health", key, value=value) for key, value in (("warning", None), ("std", "x"))),
        *(set_value("run", "seed", value=value) for value in (7, "x", None, 1e99)),
        *(set_value(key, value=None) for key in ("run", "cost", "health", "provenance")),
        set_value("status", value="failed"),
        set_value("pictures", value=5),
    ],
    store.CONFIG: [
        *(set_value("seed", value=value) for value in ("x", None, 1e99, -1, 10**30)),
        *(set_value("label", value=value) for value in (None, [])),
        *(set_value("method", value=value) for value in (None, {"name": 3}, {})),
        *(set_value("pretrain", value=value) for value in (None, {}, {"epochs": "x"})),
        *(set_value("pretrain", "lr", value=value) for value in ("x", [], -1, 1e400)),
        *(set_value(key, value=None) for key in ("version", "evaluations", "dataset", "track")),
        *(set_value(part, "label", value="x/../../y") for part in ("dataset", "backbone")),
    ],
}


def look(folder):
    """What report, status and show say, in one process; none of them fails with a traceback."""

    done = forked.bench_all(["report"], ["status"], ["show", the_run(folder).name], cwd=folder)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2), said
    assert "Traceback" not in said, said
    return said + (folder / "report" / "table.md").read_text(encoding="utf-8")


CASES = [
    *((name, damage) for name in (store.RECORD, store.CONFIG) for damage in DAMAGES),
    *((name, damage) for name, damages in IMPOSSIBLE.items() for damage in damages),
]


@pytest.mark.parametrize(("name", "damage"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_record_or_configuration_costs_one_line(copy, name, damage):
    """Whatever was read before, it is named, and its numbers are not shown; the other run's are."""
    run, other = the_run(copy), the_run(copy, "random")
    before = load_runs(copy / "runs").results
    damage(run / name)
    frames = load_runs(copy / "runs")
    assert name in frames.problems.set_index("run").loc[run.name, "reason"]
    assert frames.results["value"].to_list() == before["value"][before["run"] == other.name].to_list()
    states = {state.run: state for state in read_status(copy / "runs").runs}
    assert name in states[run.name].reason
    assert states[other.name].state == "done"
    assert show.find_run(run.name[-8:], copy / "runs") == run
    assert name in "\n".join(show.lines(store.read_run(run)))


@pytest.mark.parametrize("damage", [cut, a_folder, set_value("metrics", 0, "value", value=250.0)])
@pytest.mark.parametrize("name", [store.RECORD, store.CONFIG])
def test_every_command_says_so(copy, name, damage):
    if name == store.CONFIG and "250" in damage.__name__:
        damage = set_value("seed", value=1e99)
    damage(the_run(copy) / name)
    assert look(copy).count(name) >= 3


REMADE = [
    *((store.BACKBONE, damage) for damage in (cut, flip, a_folder, a_broken_link)),
    (store.EXTRA_STATE, flip),
    *(("evaluations/knn*.json", damage) for damage in (empty, flip, nothing, deep, a_folder)),
    ("evaluations/health*.json", flip),
]


@pytest.mark.parametrize(("name", "damage"), REMADE, ids=lambda value: getattr(value, "__name__", value))
def test_what_can_be_made_again_is_made_again(copy, name, damage):
    """With a line that says so; the record ends equal."""
    run, before = the_run(copy), numbers(copy)
    path = min(run.glob(name))
    (run / store.RECORD).unlink()
    damage(path)
    done = forked.bench(*WORDS, cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.name in done.stdout + done.stderr
    assert "again" in done.stdout + done.stderr
    assert numbers(copy) == before


FLIPS = 1000


def read_weights(path):
    return checkpoint.load(path, torch.device("cpu"), store.read_config(path.parent)["fingerprint"], pytest.fail)


def content_of(value):
    return json.dumps(value, default=lambda tensor: tensor.tolist())


def write_byte(file, position, value):
    file.seek(position)
    file.write(bytes([value]))
    file.flush()


READERS = {
    store.RECORD: lambda path: store.read_record(path.parent, store.read_config(path.parent)),
    store.CONFIG: lambda path: store.read_config(path.parent),
    "evaluations/knn*.json": store.read_json,
    "evaluations/health*.json": store.read_json,
    store.CHECKPOINT: read_weights,
    store.BACKBONE: read_weights,
    store.EXTRA_STATE: read_weights,
    "images-8px.npy": lambda path: prepared.open_memmap(path, (40, 8, 8, 3)).tolist(),
}
"""What reads each kind of file, by its name in the folder of a run."""


@pytest.mark.parametrize("name", READERS)
def test_no_flipped_bit_is_silent(copy, name):
    """Whichever of the file's bits it is: it is refused by its name, or what is read is what was written."""
    run, rng = the_run(copy), random.Random(name)
    fingerprint = store.read_config(run)["fingerprint"]
    checkpoint.save(run / store.CHECKPOINT, {"progress": {"step": 5}, "weights": torch.randn(50, 50)}, fingerprint)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    prepared.load_or_write(run / "images-8px.npy", images.shape, lambda: [images])
    path, read = min(run.glob(name)), READERS[name]
    before, silent = content_of(read(path)), []
    with path.open("r+b") as file:
        for _ in range(FLIPS):
            bit = rng.randrange(8 * path.stat().st_size)
            file.seek(bit // 8)
            (byte,) = file.read(1)
            write_byte(file, bit // 8, byte ^ 1 << bit % 8)
            try:
                is_silent = content_of(read(path)) != before
            except (DamagedFile, ForeignFile) as error:
                is_silent = path.name not in error.message
            silent += [bit] * is_silent
            write_byte(file, bit // 8, byte)
    assert silent == []
    assert content_of(read(path)) == before


@pytest.mark.parametrize("damage", [flip, a_folder, a_broken_link], ids=lambda value: value.__name__)
def test_a_damaged_record_is_made_again_by_the_same_command(copy, damage):
    before = numbers(copy)
    damage(the_run(copy) / store.RECORD)
    done = forked.bench(*WORDS, cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store.RECORD in done.stdout + done.stderr
    assert numbers(copy) == before


@pytest.mark.parametrize("name", [store.FAILURE, store.HEARTBEAT, store.CLAIM, store.ATTEMPTS])
def test_damage_to_what_accompanies_a_run_hides_nothing(copy, name):
    run = the_run(copy)
    (run / store.RECORD).unlink()
    for damage in DAMAGES:
        store.remove(run / name)
        (run / name).write_text('{"host": "elsewhere", "reason": "x"}')
        damage(run / name)
        assert len(load_runs(copy / "runs").runs) == 2
        states = {state.run: state.state for state in read_status(copy / "runs").runs}
        assert states[the_run(copy, "random").name] == "done"
        assert list(show.lines(store.read_run(run)))
    long_ago = time.time() - 60
    os.utime(run / name, (long_ago, long_ago), follow_symlinks=False)
    assert forked.bench(*WORDS, cwd=copy).returncode == 0


def test_a_damaged_index_is_made_again(copy):
    index, before = copy / "runs" / ".index.json", load_runs(copy / "runs")
    for damage in DAMAGES:
        store.remove(index)
        load_runs(copy / "runs")
        damage(index)
        assert load_runs(copy / "runs").results.equals(before.results)


def test_what_belongs_to_another_run_is_refused_or_measured_again(copy):
    ours, theirs, before = the_run(copy), the_run(copy, "random"), numbers(copy)
    (ours / store.RECORD).unlink()
    shutil.copy(theirs / store.BACKBONE, ours / store.BACKBONE)
    done = forked.bench(*WORDS, cwd=copy)
    assert done.returncode == 1
    assert "backbone.pt belongs to something else" in done.stdout + done.stderr
    assert "delete it" in done.stdout + done.stderr
    (ours / store.BACKBONE).unlink()
    source, target = min(theirs.glob("evaluations/knn*")), min(ours.glob("evaluations/knn-digits-????????.json"))
    shutil.copy(source, target)
    done = forked.bench(*WORDS, cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "belongs to another run; it is measured again" in done.stdout + done.stderr
    assert numbers(copy) == before
