"""Numbers as text."""

import pytest

from results.report.text import format_duration, format_number, format_ranges, format_scaled, format_seeds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_number(61.034, 0.567), "61.03 ± 0.57"),
        (format_number(-0.004, signed=True), "−0.00"),
        (format_number(0.18, signed=True), "+0.18"),
        (format_scaled(160_000), "160 k"),
        (format_scaled(0.0), "0"),
        (format_scaled(float("nan")), "–"),
        (format_scaled(1.234e13), "12.3 T"),
        (format_duration(12.0), "12 s"),
        (format_duration(204.0), "3.4 min"),
        (format_duration(20_160.0), "5.6 h"),
        (format_duration(float("nan")), "–"),
        (format_seeds([3]), "seed 3"),
        (format_seeds([2, 0, 1, 7]), "seeds 0–2, 7"),
        (format_ranges([0, 1]), "0, 1"),
    ],
)
def test_numbers_are_written_for_people(text, expected):
    assert text == expected
