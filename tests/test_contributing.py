"""Every recipe of CONTRIBUTING: its file, in an empty folder, is used by its command."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.spec.plugins import REGISTRIES
from tests.tools import forked

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = {
    file: (code, command)
    for file, code, command in re.findall(
        r"^### [^\n]*`(\w+\.py)`\n\n```python\n(.*?)```\n\n```sh\n(bench run [^\n]*)\n```",
        TEXT,
        re.DOTALL | re.MULTILINE,
    )
}
SMALL = ["--views", "512", "--seeds", "0", "--set", "pretrain.precision=float32", "--jobs", "1"]


def bench(*words, cwd, figures=False):
    done = forked.bench(*words, cwd=cwd, figures=figures)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def use(file, folder, *, figures=False):
    """Run a recipe's command on a small budget; returns the records, by the name of the method."""
    code, command = RECIPES[file]
    (folder / file).write_text(code, encoding="utf-8")
    words = shlex.split(command)[1:]
    evaluations = [] if "--evaluations" in words else ["--evaluations", "knn"]
    bench(*words, *evaluations, *SMALL, cwd=folder, figures=figures)
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    return {record["run"]["method"]["name"]: record for record in records}


def metrics(record):
    return {(m["label"], m.get("refinement", ""), m["metric"]): m["value"] for m in record["metrics"]}


def test_there_is_a_recipe_for_every_kind():
    decorators = {re.search(r"^@register_(\w+)\(", code, re.MULTILINE)[1] for code, _ in RECIPES.values()}
    assert decorators == {registry.kind for registry in REGISTRIES.values()}
    assert TEXT.count("```python") == len(RECIPES)


@pytest.mark.parametrize("file", RECIPES)
def test_a_recipe_is_short_and_imports_from_bench_alone(file):
    code = RECIPES[file][0]
    assert len(code.splitlines()) < 40
    modules = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
    assert modules <= {"bench", "dataclasses", "torch", "numpy", "matplotlib"}


def test_a_method(tmp_path):
    record = use("uniform.py", tmp_path)["uniform"]
    assert record["run"]["method"]["label"] == "uniform[t=3]"
    assert {"loss", "alignment"} <= record["history"][-1].keys()


def test_a_data_set(tmp_path):
    record = use("stripes.py", tmp_path)["simclr"]
    assert record["run"]["dataset"]["name"] == "stripes"
    assert {m["n"] for m in record["metrics"]} == {200}


def test_a_backbone(tmp_path):
    record = use("tiny.py", tmp_path)["simclr"]
    assert record["run"]["backbone"]["name"] == "tiny:16"
    code = (
        "import bench, pathlib; run = next(pathlib.Path('runs').glob('digits-*'));"
        "print(type(bench.load_backbone(run)).__name__, bench.load_backbone(run).dim)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Tiny", "16"]


def test_an_evaluation_of_features(tmp_path):
    found = metrics(use("ridge.py", tmp_path)["simclr"])
    assert found["ridge[penalty=10]", "", "top1"] > 50


def test_an_evaluation_of_the_backbone(tmp_path):
    found = metrics(use("flips.py", tmp_path)["simclr"])
    assert 0 < found["flips", "", "similarity"] < 100


def test_a_refinement(tmp_path):
    found = metrics(use("whiten.py", tmp_path)["simclr"])
    assert found["knn", "", "top1"] != found["knn", "whiten", "top1"] > 30


def test_an_augmentation_operation(tmp_path):
    record = use("channel_drop.py", tmp_path)["simclr"]
    assert record["run"]["recipes"]["standard"]["operations"] == {"channel_drop": {"probability": 0.5}}
    assert [extra["name"] for extra in record["run"]["extras"]] == ["channel_drop"]


def test_an_optimizer(tmp_path):
    record = use("lion.py", tmp_path)["simclr"]
    assert record["run"]["pretrain"]["optimizer"] == "lion"
    (extra,) = record["run"]["extras"]
    assert (extra["name"], extra["options"]) == ("lion", {"beta1": 0.9, "beta2": 0.98})


def test_a_schedule(tmp_path):
    record = use("polynomial.py", tmp_path)["simclr"]
    assert record["run"]["pretrain"]["schedule"] == "polynomial"
    assert record["history"][-1]["lr"] == pytest.approx(0, abs=1e-4)


def test_a_figure(tmp_path):
    use("bars.py", tmp_path, figures=True)
    assert {path.suffix for path in tmp_path.glob("report/figures/bars-*")} == {".svg", ".png", ".pdf"}
    bench("report", "--to", "again", "--plugins", "bars.py", cwd=tmp_path, figures=True)
    assert list(tmp_path.glob("again/figures/bars-*.svg"))


def test_listing_shows_what_a_file_registers(tmp_path):
    (tmp_path / "lion.py").write_text(RECIPES["lion.py"][0])
    listed = bench("list", "optimizers", "--plugins", "lion.py", "--options", cwd=tmp_path)
    assert "Lion, with the weight decay of `[pretrain]`. [lion.py]" in listed
    assert "beta2 = 0.99" in listed
