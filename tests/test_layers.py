"""The order of layers: a module imports only what stands below it, and no imports form a cycle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "slurm", "protocols", "methods", "results")
LAYERS = [
    "bench",
    "slurm",
    "protocols.runner",
    "protocols.check",
    "protocols.tune",
    "protocols.speed",
    "protocols.evaluate",
    "protocols.refine",
    "protocols.features",
    "protocols.pretrain",
    "protocols.augment",
    "protocols.backbones",
    "protocols.datasets",
    "protocols.system",
    "protocols.spec",
    "methods",
    "results.report",
    "results.figures",
    "results.analysis",
    "results.tuning",
    "results.index",
    "results.published",
    "results.seal",
    "results.store",
    "results.record",
    "results.schema",
    "results.constraints",
    "results.names",
    "results.registry",
    "results.files",
    "results.errors",
    "results.printable",
]
"""From top to bottom; the longest prefix of a module's name is its layer."""

FREE_OF_TORCH = ("protocols.spec", "results", "bench.cli", "bench.options", "slurm.selection", "slurm.submission")


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(path: Path, *, lazy: bool, types: bool) -> set[str]:
    """Names of our modules that a file imports.

    Args:
        path: of the file.
        lazy: count imports within functions too.
        types: count imports for type checking too.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if is_type_checking(node) and not types:
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            return
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            known = name if name in MODULES else name.rpartition(".")[0]
            if known in MODULES:
                found.add(known)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def layer_of(module: str) -> int:
    matching = [layer for layer in LAYERS if module == layer or module.startswith(f"{layer}.")]
    return LAYERS.index(max(matching, key=len)) if matching else len(LAYERS) - 1


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_a_higher_layer(module):
    """Imports within functions count; those for type checking do not, since nothing runs by them."""
    higher = [
        name
        for name in imports_of(MODULES[module], lazy=True, types=False)
        if name not in PACKAGES and layer_of(name) < layer_of(module)
    ]
    assert not higher


def test_no_imports_form_a_cycle():
    """Imports within functions count too: they hide a cycle, they do not break it."""
    graph = {name: imports_of(path, lazy=True, types=False) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(FREE_OF_TORCH)])
def test_what_plans_and_reads_imports_no_torch(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    heavy = {"torch", "torchvision", "timm"}
    top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in top_level if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in top_level if isinstance(node, ast.ImportFrom)]
    assert not {name.partition(".")[0] for name in names} & heavy


def test_protocols_can_be_taken_in_at_a_glance():
    entries = [path.name for path in (ROOT / "protocols").iterdir() if path.name[0] not in "._"]
    code = [name for name in entries if name not in ("README.md", "py.typed")]
    assert len(code) <= 14, sorted(code)


def test_no_submodule_of_bench_bears_the_name_of_something_it_exports():
    import bench

    submodules = {path.stem for path in (ROOT / "bench").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not submodules & set(bench.__all__)
