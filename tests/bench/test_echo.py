"""What is printed while a long task goes on."""

import pytest

from bench import echo


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    seconds = [0.0]
    monkeypatch.setattr(echo.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(echo, "_started", {})
    return seconds


def test_progress_says_how_long_a_task_still_takes(clock, capsys):
    """From the speed since the first line: what was done before an interruption took no time here."""
    for seconds, done in ((0.0, 600), (2.0, 620), (10.0, 700), (40.0, 1000)):
        clock[0] = seconds
        echo.print_progress("decoding pets/train", done, 1000)
    lines = [line.rstrip() for line in capsys.readouterr().err.split("\r")[1:]]
    assert lines == [
        "decoding pets/train: 600 of 1,000",
        "decoding pets/train: 620 of 1,000",
        "decoding pets/train: 700 of 1,000, 30 s left",
        "decoding pets/train: 1,000 of 1,000",
    ]


def test_a_task_that_is_repeated_starts_anew(clock, capsys):
    for start in (0.0, 100.0):
        for seconds, done in ((0.0, 0), (10.0, 500), (20.0, 1000)):
            clock[0] = start + seconds
            echo.print_progress("reading", done, 1000)
    assert capsys.readouterr().err.count("10 s left") == 2
