"""Times and memory as people write them."""

import pytest

from results.errors import RequestError
from slurm.units import parse_memory, parse_minutes

TIMES = {
    "90": 90,
    "90m": 90,
    "90min": 90,
    "1h30": 90,
    "1h30m": 90,
    "2h": 120,
    "1d12h": 36 * 60,
    "45s": 1,
    "1m1s": 2,
    "10:30": 11,
    "1:30:00": 90,
    "01:00:01": 61,
    "1-12": 36 * 60,
    "1-00:30": 24 * 60 + 30,
    "1-00:00:00": 24 * 60,
    90: 90,
}


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
def test_times(text, expected):
    assert parse_minutes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "1.5h", "1:2:3:4", "1d12", "h", "0:00"])
def test_what_is_no_time(text):
    with pytest.raises(RequestError, match="is not a length of time; write it like 90m, 1h30 or 1-00:00:00"):
        parse_minutes(text)


def test_memory():
    assert parse_memory("8G") == parse_memory("8GB") == parse_memory("8GiB") == parse_memory("8g") == 8 * 2**30
    assert parse_memory("1.5G") == parse_memory("1536M")


@pytest.mark.parametrize("text", ["8", "", "much", "8X", "-1G", "9" * 400 + "G"])
def test_what_is_no_memory(text):
    with pytest.raises(RequestError, match="is not an amount of memory; write it like 8G or 800M"):
        parse_memory(text)
