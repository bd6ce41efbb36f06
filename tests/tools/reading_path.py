"""Counts the modules that a reader enters who follows one command, or one run, through the code.

The reader starts at an entry function and follows its calls, depth first, each function once, as it would be read on
paper. Not opened are

- the foundation (``FOUNDATION``), whose names must say enough: ``write_json``, ``randomness.permutation``;
- what three or more other modules call, which is vocabulary too;
- constructors, and plugins, which are reached through registries;
- the entry functions of the other paths (``ENTRIES``): the command's path ends where that of the run begins.

An *entry* is a step into another module than the one last entered; a *re-entry* is one into a module entered before::

    python tests/tools/reading_path.py                                    # all paths of this checkout
    python tests/tools/reading_path.py FOLDER protocols.runner:execute    # one path of another checkout
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("bench", "slurm", "protocols", "methods", "results")
FOUNDATION = (
    "protocols.system",
    "results.store",
    "results.seal",
    "results.record",
    "results.names",
    "results.registry",
    "results.errors",
)
ENTRIES = {
    "the command": "bench.commands.run:run",
    "the trials": "bench.commands.tune:tune_first",
    "one run": "protocols.runner:execute",
    "the table": "results.report:show",
    "the report": "results.report:write",
}
Function = tuple[str, str]


class Code:
    """The functions of all modules, and which function calls which.

    Args:
        root: of the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = {name: list(imports_in(tree)) for name, tree in self.trees.items()}
        self.bodies = dict(self._functions())
        self.calls = {function: self._callees(*function) for function in self.bodies}
        self.callers: dict[Function, set[str]] = defaultdict(set)
        for (module, _), callees in self.calls.items():
            for callee in callees:
                if callee[0] != module:
                    self.callers[callee].add(module)

    def _functions(self):
        for module, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    yield (module, node.name), node
                elif isinstance(node, ast.ClassDef):
                    for inner in node.body:
                        if isinstance(inner, ast.FunctionDef):
                            yield (module, f"{node.name}.{inner.name}"), inner

    def _names(self, module: str, body: ast.AST) -> dict[str, tuple[str, str]]:
        """What names stand for: (module, name within it), the latter empty for a module itself."""
        names = {}
        for node in (*self.imports[module], *imports_in(body)):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = (whole, "") if whole in self.trees else (node.module, alias.name)
        for node in self.trees[module].body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.setdefault(node.name, (module, node.name))
        return names

    def _callees(self, module: str, name: str) -> list[Function]:
        names, body = self._names(module, self.bodies[module, name]), self.bodies[module, name]
        calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
        found: list[Function] = []
        for call in sorted(calls, key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0)):
            target = self._resolve(call.func, names, module, name.partition(".")[0] if "." in name else "")
            for candidate in target:
                if candidate in self.bodies and candidate not in found:
                    found.append(candidate)
        return found

    def _resolve(self, func: ast.expr, names: dict[str, tuple[str, str]], module: str, cls: str) -> list[Function]:
        if isinstance(func, ast.Name) and func.id in names:
            where, what = names[func.id]
            return [(where, what)]
        if isinstance(func, ast.Attribute):
            base = func.value
            if isinstance(base, ast.Name) and base.id == "self" and cls:
                return [(module, f"{cls}.{func.attr}")]
            if isinstance(base, ast.Name) and base.id in names:
                where, what = names[base.id]
                return [(where, func.attr if not what else f"{what}.{func.attr}")]
            if isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id in names:
                where, what = names[base.func.id]
                return [(where, f"{what}.{func.attr}")]
        return []


def imports_in(tree: ast.AST) -> Iterator[ast.ImportFrom]:
    """The imports of names from these packages, wherever they are in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            yield node


def reading_path(code: Code, entry: Function) -> list[str]:
    """The modules that are entered, in order, beginning with that of ``entry``."""
    path, read = [entry[0]], {entry}

    def follow(function: Function) -> None:
        for callee in code.calls[function]:
            is_vocabulary = len(code.callers[callee]) > 2 or callee[0].startswith(FOUNDATION)
            if callee in read or is_vocabulary or ":".join(callee) in ENTRIES.values():
                continue
            read.add(callee)
            if callee[0] not in (function[0], path[-1]):
                path.append(callee[0])
            follow(callee)

    follow(entry)
    return path


def main(words: list[str]) -> None:
    """Print every path: how many modules it enters, and which."""
    root = Path(words.pop(0)) if words and ":" not in words[0] else Path(__file__).parents[2]
    code = Code(root)
    for entry in words or ENTRIES.values():
        module, _, name = entry.partition(":")
        path = reading_path(code, (module, name))
        sys.stdout.write(f"{entry}: {len(set(path))} modules, {len(path) - len(set(path))} re-entries\n")
        sys.stdout.writelines(f"  {module}\n" for module in path)


if __name__ == "__main__":
    main(sys.argv[1:])
