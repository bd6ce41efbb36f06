"""What the README says holds: its commands, its example, its tables."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
TABLES = re.findall(r"<!-- (table|published|speed|parity): (\S+) -->\n\n((?:\|.*\n)+(?:\n(?:- .*\n)+)?)", README)


def example():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return code


def test_a_method_in_one_file_outside_of_the_repository_runs_beside_the_others(tmp_path):
    assert example().count("\n") < 60
    (tmp_path / "spectral.py").write_text(example())
    grid = ["--methods", "./spectral.py,random", "--datasets", "digits", "--seeds", "0", "--views", "4000"]
    words = ["run", *grid, "--set", "spectral.radius=2"]
    subprocess.run([*BENCH, *words], cwd=tmp_path, check=True, capture_output=True)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    spectral, random = sorted(records, key=lambda record: record["run"]["method"]["name"], reverse=True)
    assert (spectral["run"]["method"]["label"], random["run"]["method"]["label"]) == ("spectral[radius=2]", "random")
    losses = [line["loss"] for line in spectral["history"]]
    assert losses[-1] < losses[0]


def test_every_measured_table_is_there():
    assert {kind for kind, _, _ in TABLES} == {"table", "published", "speed", "parity"}
    assert README.count("<!-- ") == len(TABLES)


def test_every_table_ends_with_an_empty_line():
    """Otherwise the line that follows is shown as its last row."""
    assert not re.findall(r"^\|.*\n[^|\n].*", README, flags=re.MULTILINE)


@pytest.mark.parametrize(("kind", "folder", "table"), [one for one in TABLES if one[0] in ("table", "published")])
def test_tables_are_those_of_the_committed_records(tmp_path, kind, folder, table):
    command = [*BENCH, "report", "--runs", str(ROOT / folder), "--to", str(tmp_path), "--data", str(tmp_path / "data")]
    subprocess.run(command + ["--published"] * (kind == "published"), check=True, capture_output=True)
    assert table in (tmp_path / "table.md").read_text(encoding="utf-8")


def speed_row(measured):
    times, method = measured["times"], measured["run"]["method"]["label"]
    cells = method, f"{measured['views_per_second']:,.0f}", f"{times['views']:.1f} ×", f"{times['step']:.1f} ×"
    return f"| {' | '.join(cells)} | {measured['memory'] / 2**20:,.0f} MiB |"


@pytest.mark.parametrize(("file", "table"), [(file, table) for kind, file, table in TABLES if kind == "speed"])
def test_speeds_are_those_of_the_committed_measurement(file, table):
    document = json.loads((ROOT / file).read_text(encoding="utf-8"))
    assert table.splitlines()[2:] == [speed_row(measured) for measured in document["speeds"]]
    assert not document["provenance"]["dirty"]


def accuracies(folder):
    """Of every method and precision, one a seed."""
    found = {}
    for path in sorted((ROOT / folder).glob("*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = record["run"]["method"]["label"], record["cost"]["precision"]
        assert ("--plain" in record["provenance"]["command"]) == (key[1] == "float32")
        found.setdefault(key, []).append(record["metrics"][0]["value"])
    return found


@pytest.mark.parametrize(("folder", "table"), [(folder, table) for kind, folder, table in TABLES if kind == "parity"])
def test_speed_costs_no_accuracy(folder, table):
    """The table is that of the records; what is quick and what is plain differ by less than their deviation."""
    measured = accuracies(folder)
    rows = []
    for name in sorted({method for method, _ in measured}):
        both = [measured[name, precision] for precision in ("bfloat16", "float32")]
        means, deviations = ([function(values) for values in both] for function in (np.mean, partial(np.std, ddof=1)))
        cells = [f"{m:.2f} ± {d:.2f} ({len(v)})" for m, d, v in zip(means, deviations, both, strict=True)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
        assert abs(means[0] - means[1]) < max(deviations)
    assert table.splitlines()[2:] == rows


def test_differences_in_the_text_are_those_of_a_table():
    said = re.findall(r"[+−]\d+\.\d\d(?: ± \d+\.\d\d)?", re.sub(r"^\|.*$", "", README, flags=re.MULTILINE))
    shown = "".join(table for _, _, table in TABLES)
    assert said
    assert not [words for words in said if words not in shown]


def test_linked_pictures_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).is_file(), path
