"""A package of plugins, installed and used by name."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.tools import forked

EXAMPLE = Path(__file__).parent / "example_plugin"
WORDS = [
    *("run", "--methods", "example-mse", "--datasets", "digits", "--seeds", "0", "--views", "512", "--jobs", "1"),
    *("--evaluations", "example-norm[power=1]", "--set", "pretrain.precision=float32"),
    *("--set", "pretrain.optimizer=example-sgd", "--set", "pretrain.schedule=example-linear"),
    *("--set", "pretrain.optimizer_options.nesterov=false"),
]


def install(site, version="1.0"):
    """Lay the package out as an installer does: its modules, and a dist-info with what its pyproject says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(EXAMPLE / "bench_example", site / "bench_example", dirs_exist_ok=True)
    info = site / "bench_example-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())])
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Runs the command in a folder, with the package installed beside what the tests have."""
    folder = tmp_path_factory.mktemp("example")
    install(folder / "site")

    def call(*words):
        done = forked.bench(*words, cwd=folder, path=[str(folder / "site")])
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    call.folder = folder
    return call


def test_a_package_is_installed_used_and_part_of_a_runs_identity(bench):
    bench(*WORDS)
    (path,) = bench.folder.glob("runs/*/record.json")
    record = json.loads(path.read_text())
    run = record["run"]
    assert [(m["label"], m["metric"]) for m in record["metrics"]] == [("example-norm[power=1]", "norm")]
    assert [extra["name"] for extra in run["extras"]] == ["example-sgd", "example-linear"]
    assert run["extras"][0]["options"] == {"nesterov": False}
    sources = [run["method"]["source"], run["evaluations"][0]["source"], *(extra["source"] for extra in run["extras"])]
    assert all(len(source) == 12 for source in sources)
    assert "1 runs done, 0 to execute" in bench(*WORDS, "--dry-run")
    install(bench.folder / "site", version="1.1")
    assert "0 runs done, 1 to execute" in bench(*WORDS, "--dry-run")
    install(bench.folder / "site")
    assert "1 runs done, 0 to execute" in bench(*WORDS, "--dry-run")
    with (bench.folder / "site" / "bench_example" / "plugins.py").open("a") as file:
        file.write("# changed\n")
    assert "0 runs done, 1 to execute" in bench(*WORDS, "--dry-run")
    install(bench.folder / "site")


def test_a_package_is_listed(bench):
    listed = bench("list", "schedules")
    assert "example-linear  Linear decay to zero. [bench-example 1.0]" in listed
