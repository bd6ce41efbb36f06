"""What the documents say holds: their commands, examples, tables, links and paths."""

import ast
import importlib
import json
import re
import runpy
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from protocols.spec import protocol as protocols
from protocols.spec.labels import parse_label
from results.analysis.statistics import estimate
from results.names import display_name
from tests.tools import forked

ROOT = Path(__file__).parents[1]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in TRACKED if name.endswith(".md")}
READMES = {name: text for name, text in DOCUMENTS.items() if name.endswith("README.md")}
README = READMES["README.md"]
MARKED = re.compile(
    r"<!-- (table|published|speed|decoding|memory|parity|choice): (\S+) -->\n\n((?:\|.*\n)+(?:\n(?:- .*\n)+)?)"
)
TABLES = [(name, *found) for name, text in READMES.items() for found in MARKED.findall(text)]


def tables(*kinds):
    return [pytest.param(*found, id=f"{name}-{found[1]}") for name, *found in TABLES if found[0] in kinds]


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_a_method_in_one_file_outside_of_the_repository_runs_beside_the_others(tmp_path):
    example = python_blocks(README)[0]
    assert example.count("\n") < 40
    imports = [node.module for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]
    assert imports == ["dataclasses", "bench", "torch.nn"]
    (tmp_path / "spectral.py").write_text(example)
    grid = ["--methods", "./spectral.py,random", "--datasets", "digits", "--seeds", "0", "--views", "4000"]
    words = ["run", *grid, "--set", "spectral.radius=2"]
    assert forked.bench(*words, cwd=tmp_path).returncode == 0
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    spectral, random = sorted(records, key=lambda record: record["run"]["method"]["name"], reverse=True)
    assert (spectral["run"]["method"]["label"], random["run"]["method"]["label"]) == ("spectral[radius=2]", "random")
    losses = [line["loss"] for line in spectral["history"]]
    assert losses[-1] < losses[0]


def test_the_example_in_python_runs(tmp_path):
    example = python_blocks(README)[1] + "print(list(accuracy.index), list(accuracy.columns), backbone.training)"
    done = forked.execute(example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['random', 'simclr'] ['knn', 'linear'] False"
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_readme_is_short_and_has_one_table():
    assert README.count("\n") <= 135
    assert len(re.findall(r"^\| ---", README, flags=re.MULTILINE)) == 1
    assert max(len(line) for line in README.splitlines()) <= 120


def test_every_marked_table_is_found():
    kinds = {"table", "published", "speed", "decoding", "memory", "parity", "choice"}
    assert {kind for _, kind, _, _ in TABLES} == kinds
    assert sum(text.count("<!-- ") for text in READMES.values()) == len(TABLES)


def test_every_folder_of_measured_results_says_what_it_shows():
    folders = {Path(name).parts[2] for name in TRACKED if name.startswith("results/measured/")}
    assert {f"results/measured/{folder}/README.md" for folder in folders} <= READMES.keys()


@pytest.mark.parametrize("name", [name for name in READMES if re.fullmatch(r"results/measured/[^/]+/README.md", name)])
def test_commits_and_labels_of_records_are_those_that_the_document_names(name):
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / name).parent.glob("*/record.json")]
    commits = {record["provenance"]["commit"][:7] for record in records}
    attempts = {one["commit"][:7] for record in records for one in record["provenance"]["attempts"]}
    commit = r"\b(?=[0-9a-f]*\d)[0-9a-f]{7}\b"
    landed = set(re.findall(rf"landed as ({commit})", READMES[name]))  # the same code, in a later order of commits
    named = set(re.findall(commit, READMES[name])) - landed
    assert commits <= named
    if records:
        assert named <= commits | attempts
        assert not any(record["provenance"]["dirty"] for record in records)
        assert f"bench report --runs {Path(name).parent}" in READMES[name]


@pytest.mark.parametrize("name", READMES)
def test_every_table_ends_with_an_empty_line(name):
    """Otherwise the line that follows is shown as its last row."""
    assert not re.findall(r"^\|.*\n[^|\n].*", READMES[name], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    @cache
    def written(folder, *options):
        to = tmp_path_factory.mktemp("report")
        words = ["report", "--runs", str(ROOT / folder), "--to", str(to), "--data", str(to / "data"), *options]
        assert forked.bench(*words, cwd=to).returncode == 0
        return (to / "table.md").read_text(encoding="utf-8")

    return written


@pytest.mark.parametrize(("kind", "folder", "table"), tables("table", "published"))
def test_tables_are_those_of_the_committed_records(report, kind, folder, table):
    assert table in report(folder, *(["--published"] if kind == "published" else []))


def speed_row(measured):
    times, method = measured["times"], measured["run"]["method"]["label"]
    cells = method, f"{measured['views_per_second']:,.0f}", f"{times['views']:.1f} ×", f"{times['step']:.1f} ×"
    return f"| {' | '.join(cells)} | {measured['memory'] / 2**20:,.0f} MiB |"


@pytest.mark.parametrize(("kind", "file", "table"), tables("speed"))
def test_speeds_are_those_of_the_committed_measurement(kind, file, table):
    document = json.loads((ROOT / file).read_text(encoding="utf-8"))
    assert table.splitlines()[2:] == [speed_row(measured) for measured in document["speeds"]]
    assert not document["provenance"]["dirty"]


def decoding_row(line):
    what = f"{line['side']} px" if line["side"] else "as they are"
    cells = (f"{line['bytes'] / 1000:.0f} KB", f"{line['program']}, {what}", f"{line['per_second']:,}")
    return f"| {' | '.join(cells)} | {line['per_core_second']:,} |"


def memory_row(line):
    cells = (
        f"{line['method']}, {line['side']} px",
        f"{line['peak_gib']:.1f}",
        f"{line['views']:,}",
        f"{line['seconds']:,}",
    )
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize(("kind", "file", "table"), tables("decoding", "memory"))
def test_figures_of_large_images_are_those_of_the_committed_measurement(kind, file, table):
    lines = [json.loads(line) for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    assert table.splitlines()[2:] == [{"decoding": decoding_row, "memory": memory_row}[kind](line) for line in lines]
    assert kind == "decoding" or all(line["status"] == 0 and line["peak_gib"] <= 6 for line in lines)


def accuracies(folder):
    """Of every method and precision, by seed."""
    found = {}
    for path in sorted((ROOT / folder).glob("*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = record["run"]["method"]["label"], record["cost"]["precision"]
        assert ("--plain" in record["provenance"]["command"]) == (key[1] == "float32")
        found.setdefault(key, {})[record["run"]["seed"]] = record["metrics"][0]["value"]
    return found


@pytest.mark.parametrize(("kind", "folder", "table"), tables("parity"))
def test_no_loss_of_accuracy_by_speed_can_be_told(kind, folder, table):
    """The table is that of the records, and the interval of every paired difference includes 0."""
    measured = accuracies(folder)
    rows = []
    for name in sorted({method for method, _ in measured}):
        fast, reference = (measured[name, precision] for precision in ("bfloat16", "float32"))
        assert fast.keys() == reference.keys()
        found = [estimate([*values.values()]) for values in (fast, reference)]
        difference = estimate([fast[seed] - reference[seed] for seed in fast])
        assert difference.low < 0 < difference.high
        half = difference.high - difference.mean
        cells = [f"{e.mean:.2f} ± {e.std:.2f} ({e.n})" for e in found]
        cells.append(f"{difference.mean:+.2f} ± {half:.2f}".replace("-", "−"))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    assert table.splitlines()[2:] == rows


@pytest.mark.parametrize(("kind", "folder", "table"), tables("choice"))
def test_chosen_options_are_the_best_of_the_records_and_those_of_the_protocol(kind, folder, table):
    """By the mean over runs, which all have every setting; beside the best of a kind of refinement its second."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / folder).glob("*/record.json")]
    accuracies, rows = {}, []
    for metric in (metric for record in records for metric in record["metrics"] if metric["evaluation"] == "linear"):
        accuracies.setdefault(metric["refinement"], []).append(metric["value"])
    del accuracies[""]  # without refinement
    assert {len(values) for values in accuracies.values()} == {len(records)}
    chosen = protocols.load(records[0]["run"]["preset"]).tables["refinements"]
    for name in dict.fromkeys(parse_label(label)[0] for label in accuracies):
        means = {label: np.mean(values) for label, values in accuracies.items() if parse_label(label)[0] == name}
        (best, high), (second, low) = sorted(means.items(), key=lambda item: -item[1])[:2]
        rows.append(f"| {display_name(best)} | {high:.2f} | {display_name(second)} | {low:.2f} | {high - low:.2f} |")
        assert chosen[f"{name}-chosen"] == {"refinement": name, **parse_label(best)[1]}
    assert sorted(table.splitlines()[2:]) == sorted(rows)


def test_differences_in_the_text_are_those_of_a_table_beside_it():
    said = 0
    for name, text in READMES.items():
        differences = re.findall(r"[+−]\d+\.\d\d(?: ± \d+\.\d\d)?", re.sub(r"^\|.*$", "", text, flags=re.MULTILINE))
        shown = "".join(table for document, _, _, table in TABLES if document == name)
        assert not [words for words in differences if words not in shown], name
        said += len(differences)
    assert said > 10


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", DOCUMENTS[name]):
        if target != "CONTRIBUTING.md" or "CONTRIBUTING.md" in TRACKED:
            assert (ROOT / name).parent.joinpath(target).exists(), target


def is_there(word):
    """Whether a path below the root, a module, or something that a module defines exists."""
    if "/" in word:
        return any(ROOT.glob(word.rstrip("/")))
    try:
        importlib.import_module(word)
    except ModuleNotFoundError:
        module, _, attribute = word.rpartition(".")
        return bool(module) and hasattr(importlib.import_module(module), attribute)
    return True


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "protocols/README.md"])
def test_paths_and_modules_that_the_maps_name_exist(name):
    words = set(re.findall(r"`([\w./*-]+)`", DOCUMENTS[name]))
    ours = sorted(word for word in words if re.match(r"(bench|slurm|protocols|methods|results|tests)[/.]\w", word))
    assert len(ours) > 10
    assert not [word for word in ours if not is_there(word)]


def test_the_picture_of_the_layers_is_that_of_the_test_of_layers():
    layers = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["LAYERS"]
    there = [name for name in layers if any(ROOT.glob(f"{name.replace('.', '/')}*"))]
    (picture,) = re.findall(r"## Layers\n\n```text\n(.*?)```", DOCUMENTS["ARCHITECTURE.md"], flags=re.DOTALL)
    assert [line.split()[0] for line in picture.splitlines()] == there


def test_the_citation_and_the_hooks_say_what_the_project_says():
    import bench

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {bench.__version__}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
    assert project["authors"][0]["name"] in citation
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"entry: uv run --no-sync (\w+)", hooks)) == {"ruff", "mypy"}
    assert re.findall(r"repo: (\S+)", hooks) == ["local"]
