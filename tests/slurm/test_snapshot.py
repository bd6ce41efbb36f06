"""Copies of the code that a submission runs."""

import json
import subprocess
import sys
from pathlib import Path

from protocols.spec.grid import Request, expand
from protocols.spec.plugins import REGISTRIES
from results.store import read_json
from slurm.snapshot import copy_code, with_copied_plugins


def test_a_copy_of_the_code_knows_its_commit(tmp_path):
    copy_code(tmp_path / "code")
    kept = read_json(tmp_path / "code" / "commit.json")
    assert (tmp_path / "code" / "bench" / "__init__.py").exists()  # plugin files import it
    assert set(kept) == {"commit", "dirty"}
    assert not list(tmp_path.glob(".*"))


def test_named_files_are_copied_and_keep_their_identity(run_of, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("from methods import register")
    run = run_of("simclr", plugins=[str(plugin)])
    copied = with_copied_plugins(run, tmp_path / "plugins")
    plugin.write_text("changed")
    (copy,) = (tmp_path / "plugins").glob("*-mine.py")
    assert copy.read_text() == "from methods import register"
    assert copied.plugins == (str(copy),)
    assert copied.folder() == run.folder()


def test_two_files_of_one_name_are_two_copies(run_of, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"# {folder}")
    runs = [run_of("simclr", plugins=[str(tmp_path / folder / "mine.py")]) for folder in ("a", "b")]
    copies = [Path(with_copied_plugins(run, tmp_path / "plugins").plugins[0]) for run in runs]
    assert [copy.read_text() for copy in copies] == ["# a", "# b"]


KINDS = """
from bench import *

@register_method("m")
class M: "A method."

@register_dataset("d")
class D(Source): "A data set."

@register_backbone("b")
def b(name): "A backbone."

@register_evaluation("e")
def e(features): "An evaluation."

@register_refinement("r")
def r(features): "A refinement."

@register_augmentation("a", uniforms=1)
def a(views, u): "An operation."

@register_optimizer("o")
def o(parameters, pretrain): "An optimizer."

@register_schedule("s")
def s(progress, pretrain): "A schedule."
"""


def test_a_job_finds_plugins_of_every_kind_in_the_copies(tmp_path):
    (tmp_path / "mine.py").write_text(KINDS)
    settings = ["pretrain.optimizer=o", "pretrain.schedule=s", "recipes.standard.operations.a={}"]
    request = Request(
        plugins=[str(tmp_path / "mine.py")], settings=settings, seeds=[0],
        methods=["m"], datasets=["d"], backbones=["b"], evaluations=["e"], refinements=["r"],
    )  # fmt: skip
    try:
        (run,) = expand(request, tmp_path)
    finally:
        for registry in REGISTRIES.values():
            for name in "mdberaos":
                registry._files.pop(name, None)
                registry._loaded.pop(name, None)
    copied = with_copied_plugins(run, tmp_path / "plugins")
    (tmp_path / "mine.py").unlink()
    (tmp_path / "config.json").write_text(json.dumps(copied.config()))
    code = (
        "import json, sys; from protocols.spec.run import Run; from protocols.spec.resolve import load_plugins;"
        "run = Run.from_config(json.load(open('config.json'))); load_plugins(run); print(run.folder())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run.folder()
