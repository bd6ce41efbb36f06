"""Imports within results go down its layers, nothing of it imports another package, and there are no cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = ["report", "figures", "analysis", "published", "store", "record", "names", "registry", "errors"]
"""From top to bottom."""


def imports_of(path):
    """The modules of this repository that a file imports when it runs; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                is_module = (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
                yield module if is_module else node.module


def modules():
    for path in sorted((ROOT / "results").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, {module for module in imports_of(path) if module.split(".")[0] in FOLDERS}


FOLDERS = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}


def test_nothing_of_another_package_is_imported():
    assert {"bench", "methods", "protocols", "results", "slurm"} <= FOLDERS
    for name, imported in modules():
        assert {module.split(".")[0] for module in imported} <= {"results"}, name


def test_imports_go_down_the_layers():
    for name, imported in modules():
        own = name.split(".")[1:2]
        for module in imported:
            if own and module != "results":
                assert LAYERS.index(own[0]) <= LAYERS.index(module.split(".")[1]), f"{name} imports {module}"


def test_there_are_no_cycles():
    TopologicalSorter({name: imported - {name} for name, imported in modules()}).prepare()
