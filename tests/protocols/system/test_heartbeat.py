"""A run's sign of life."""

import io

from rich.console import Console

from bench.progress import Lines
from protocols.spec.grid import Request, expand
from protocols.system.heartbeat import Heartbeat
from results.record import Progress
from results.schema import build
from results.store import HEARTBEAT, read_json


def test_a_stage_within_an_evaluation_says_which_evaluation_it_is_part_of(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.progress.LINE_INTERVAL_S", 0.0)
    runs = expand(Request(methods=["random"], datasets=["digits"], seeds=[0]), tmp_path)
    display = Lines(Console(file=io.StringIO(), width=200), runs, [0])
    heart = Heartbeat(tmp_path, display.on_run_start(runs[0]))
    heart.stage("evaluate", 4)
    heart.progress(1, "linear after graph")
    heart.stage("graph network", 200)
    heart.advance_or_stop(50)
    beat = read_json(tmp_path / HEARTBEAT)
    assert (beat["stage"], beat["done"], beat["note"]) == ("graph network", 50, "linear after graph")
    assert "25 % of graph network, linear after graph" in display.console.file.getvalue().splitlines()[-1]
    heart.stage("evaluate", 4, 2)
    heart.progress(2, "knn after graph")
    assert read_json(tmp_path / HEARTBEAT)["note"] == "knn after graph"


def test_time_left_is_never_negative(tmp_path, monkeypatch):
    """Not when a stage within an evaluation counts otherwise, nor when an earlier record adds evaluations to a run."""
    monkeypatch.setattr("protocols.system.heartbeat.HEARTBEAT_INTERVAL_S", 0.0)
    runs = expand(Request(methods=["random"], datasets=["digits"], seeds=[0], evaluations=["knn"]), tmp_path)
    display = Lines(Console(file=io.StringIO(), width=200), runs, [0])
    heart = Heartbeat(tmp_path, display.on_run_start(runs[0]))
    heart.stage("evaluate", 9)
    for evaluation in range(1, 9):
        heart.stage("evaluate", 9, evaluation)
        heart.progress(evaluation, "finetune")
        heart.stage("finetune", 200)
        for step in (64, 128, 192, 256, evaluation):
            heart.progress(step)
            beat = build(Progress, read_json(tmp_path / HEARTBEAT), "heartbeat")
            assert beat.seconds_left is None or beat.seconds_left >= 0
        done, total = display.work()
        assert 0 <= done < total
    heart.stage("evaluate", 9, 9)
    heart.progress(9)
    assert display.fraction() == 1
