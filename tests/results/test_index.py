"""The derived index: quick where nothing changed, never wrong where something did."""

import json

from results.analysis.frame import load_runs, summarize_run
from results.index import INDEX, summaries
from results.store import FAILURE, RECORD, read_run, write_json


def counting(reads):
    def summarize_and_count(folder):
        reads.append(folder.name)
        return summarize_run(read_run(folder))

    return summarize_and_count


def test_unchanged_runs_are_read_once(store, runs):
    for seed in range(3):
        store({"linear": 60.0}, seed=seed)
    reads = []
    first = summaries(runs, counting(reads), 1)
    assert len(reads) == 3
    assert summaries(runs, counting(reads), 1) == first
    assert len(reads) == 3


def test_what_changed_is_read_again(store, runs):
    done, open_ = store({"linear": 60.0}, seed=0), store(seed=1)
    assert load_runs(runs).results["value"].to_list() == [60.0]
    record = json.loads((done / RECORD).read_text())
    record["metrics"][0]["value"] = 61.0
    write_json(done / RECORD, record)
    write_json(open_ / FAILURE, {"reason": "out of memory"})
    frames = load_runs(runs)
    assert frames.results["value"].to_list() == [61.0]
    assert frames.problems["reason"].to_list() == ["out of memory"]


def test_removed_runs_are_forgotten(store, runs):
    folder = store({"linear": 60.0}, seed=0)
    store({"linear": 61.0}, seed=1)
    load_runs(runs)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert load_runs(runs).results["value"].to_list() == [61.0]
    assert list(json.loads((runs / INDEX).read_text())["entries"]) == [p.name for p in runs.iterdir() if p.is_dir()]


def test_damaged_or_foreign_indexes_are_rebuilt(store, runs):
    store({"linear": 60.0})
    for text in ("", "[]", '{"version": 1, "entries": 3}', '{"version": 1, "entries": {"a": 1}}', '{"version": 99'):
        (runs / INDEX).write_text(text)
        assert load_runs(runs).results["value"].to_list() == [60.0]
        assert json.loads((runs / INDEX).read_text())["entries"]


def test_another_version_is_not_believed(store, runs):
    store({"linear": 60.0})
    reads = []
    summaries(runs, counting(reads), 1)
    summaries(runs, counting(reads), 2)
    assert len(reads) == 2


def test_an_index_that_cannot_be_written_is_done_without(store, runs, monkeypatch):
    store({"linear": 60.0})

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("results.index.write_json", refuse)
    assert load_runs(runs).results["value"].to_list() == [60.0]
    assert not (runs / INDEX).exists()
