"""What a person sees of the time that is left."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench import progress
from bench.progress import BAR_WIDTH, Bars, Lines
from protocols.spec.grid import Request, expand
from slurm.monitor import Outcome

EVALUATIONS = 5
"""Of a run below: health, and two evaluations with and without a refinement."""


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def runs(tmp_path):
    request = Request(methods=["simclr"], datasets=["digits"], seeds=[0, 1], refinements=["averaged"])
    return expand(request, tmp_path)


def shown(runs, views=1000):
    return Lines(Console(file=io.StringIO(), width=200), runs, [views] * len(runs))


def run_stages(display, run, clock, *, pretrain=10.0, evaluation=20.0, upto=EVALUATIONS):
    """Pretrain and make some evaluations, each in a time of its own."""
    listener = display.on_run_start(run)
    listener.stage("pretrain", 1000)
    listener.progress(0)
    for views in range(100, 1100, 100):
        clock.seconds += pretrain / 10
        listener.progress(views)
    listener.stage("evaluate", EVALUATIONS)
    listener.progress(0)
    for done in range(1, upto + 1):
        listener.stage("graph network", 300)
        listener.advance_or_stop(150)
        clock.seconds += evaluation
        listener.stage("evaluate", EVALUATIONS, done)
        listener.progress(done, "linear after averaged")
    return listener


def test_the_time_left_knows_how_long_evaluations_took(runs, clock):
    display = shown(runs)
    run_stages(display, runs[0], clock)
    display.on_run_end(Outcome(runs[0], None, "it failed"))
    assert display.fraction() == pytest.approx(0.5)
    assert clock.seconds == 110
    assert display.time_left() == f"{progress.duration(110)} left"
    run_stages(display, runs[1], clock, upto=3)
    assert display.fraction() == pytest.approx((110 + 10 + 60) / 220)


def test_a_line_about_evaluations_says_how_far_they_are(runs, clock):
    display = shown(runs)
    run_stages(display, runs[0], clock, upto=3)
    lines = display.console.file.getvalue().splitlines()
    assert "60 % of evaluate, linear after averaged" in lines[-1]
    assert not any(" 0 % of evaluate;" in line for line in lines)


def test_what_an_earlier_attempt_did_is_not_timed(runs, clock):
    display = shown(runs[:1], views=1_000_000)
    listener = display.on_run_start(runs[0])
    listener.stage("pretrain", 1_000_000)
    listener.progress(500_000)
    clock.seconds += 100
    listener.progress(750_000)
    assert display.views_timing.seconds_per_unit() == pytest.approx(100 / 250_000)
    expected = 100 + EVALUATIONS * progress.VIEWS_PER_EVALUATION * 100 / 250_000
    assert display.time_left() == f"{progress.duration(expected)} left"


def test_runs_that_are_only_evaluated_are_judged_by_that(runs, clock):
    display = shown(runs, views=0)
    listener = display.on_run_start(runs[0])
    listener.stage("evaluate", EVALUATIONS)
    listener.progress(0)
    clock.seconds += 50
    listener.progress(2)
    assert display.fraction() == pytest.approx(2 / (2 * EVALUATIONS))
    assert display.time_left() == f"{progress.duration(200)} left"


def test_the_time_left_is_shown_from_the_first_seconds_of_work_on(runs, clock):
    display = shown(runs, views=1_000_000_000)
    listener = display.on_run_start(runs[0])
    clock.seconds += 60  # loading and compiling are not extrapolated
    listener.stage("pretrain", 1_000_000_000)
    listener.progress(0)
    assert display.time_left() == ""
    clock.seconds += 10
    listener.progress(100_000)
    done, total = display.work()
    assert done < 0.001 * total
    expected = f"{progress.duration(10 * (total - done) / done)} left"
    assert display.console.file.getvalue().splitlines()[-1].endswith(f"; {expected}")


def test_the_stages_of_an_evaluation_count_as_its_parts(runs, clock):
    display = shown(runs[:1], views=0)
    listener = display.on_run_start(runs[0])
    listener.stage("evaluate", EVALUATIONS)
    listener.progress(0)
    listener.stage("finetune", 4000)
    clock.seconds += 30
    listener.progress(1000)
    assert display.time_left() == f"{progress.duration(30 * (EVALUATIONS - 0.25) / 0.25)} left"
    listener.stage("corruptions", 10)  # a second stage, whose beginning takes nothing back
    listener.progress(0)
    assert display.fraction() == pytest.approx(0.25 / EVALUATIONS)
    clock.seconds += 30
    listener.stage("evaluate", EVALUATIONS, 1)
    listener.progress(1)
    assert display.evaluation_timings[0].seconds_per_unit() == pytest.approx(60)


def test_one_long_evaluation_is_not_taken_for_the_others(runs, clock):
    """A resumed run whose first three evaluations are stored, then a fit of a quarter of an hour."""
    display = shown(runs)
    listener = display.on_run_start(runs[0])
    listener.stage("pretrain", 1000)
    listener.progress(1000)
    for done in range(4):
        listener.stage("evaluate", EVALUATIONS, done)
        listener.progress(done)
        clock.seconds += 0.01
    listener.stage("graph network", 300)
    for step in range(30, 330, 30):
        clock.seconds += 90
        listener.progress(step)
    assert display.time_left() == ""  # the other run is yet to be pretrained, and nothing tells how long that takes
    for done in (4, 5):
        listener.stage("evaluate", EVALUATIONS, done)
        listener.progress(done)
        clock.seconds += 10
    display.on_run_end(Outcome(runs[0], None, "it failed"))
    listener = display.on_run_start(runs[1])
    listener.stage("pretrain", 1000)
    listener.progress(0)
    clock.seconds += 50
    listener.progress(500)
    unknown = (900 + 10) / 2  # three evaluations were never timed
    expected = 50 + 900 + 10 + 3 * unknown
    assert display.work()[1] - display.work()[0] == pytest.approx(expected, rel=0.01)
    for done in range(EVALUATIONS + 1):
        listener.stage("evaluate", EVALUATIONS, done)
        listener.progress(done)
        clock.seconds += 900 if done == 3 else 10
    assert display.fraction() == pytest.approx(1)
    assert [round(seconds) for seconds in display.unit_seconds()[1]] == [10, 10, 10, 900, 10]


@pytest.mark.parametrize("width", [80, 200])
def test_long_labels_and_notes_leave_the_bar_its_width(tmp_path, clock, width):
    long = [f"simclr[temperature=0.{'1' * 80}]", "byol"]
    runs = expand(Request(methods=long, datasets=["digits"], seeds=[0]), tmp_path)
    bars = Bars(Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None), runs, [1000] * 2)
    for run in runs:
        listener = bars.on_run_start(run)
        listener.stage("pretrain", 1000)
        listener.progress(1000, "epoch 2/2, loss 0.1234, " + ", ".join(f"scalar{i} 0.5" for i in range(20)))
    bars.console.print(bars.bars.get_renderable())
    lines = bars.console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert [line.count("━") for line in lines[1:]] == [BAR_WIDTH] * 2
    assert all("100%" in line and "0:00:00" in line and "pretrain, epoch" in line for line in lines[1:])
    assert all(len(line) <= width for line in lines)
