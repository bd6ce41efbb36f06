"""What can be told of a plugin from its source, before it is imported."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from results.errors import BrokenPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """What is known of a plugin before it is loaded.

    Attributes:
        name: the name it is called by.
        module: dotted module name, or the path of a file.
        origin: for people: ``built in``, a distribution and its version, or a file.
        version: bumped by hand when the same options begin to give other numbers.
        summary: first line of its docstring.
        options: its options and their defaults.
        takes: name of a function's first parameter; empty for a class.
        digest: hash of the source for a plugin named by path, which changes without a version; else empty.
        error: why it cannot be loaded; empty if nothing is known against it.
    """

    name: str
    module: str
    origin: str
    version: int = 1
    summary: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    takes: str = ""
    digest: str = ""
    error: str = ""


def read_entries(path: Path, *, module: str, origin: str) -> Iterator[Entry]:
    """Read the plugins of a source file without importing it.

    Raises:
        SyntaxError: it is not Python.
        BrokenPlugin: a name, version or default in it is not a literal.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for call in filter(is_registration, node.decorator_list):
                assert isinstance(call, ast.Call)
                try:
                    yield read_entry(node, call, module, origin)
                except ValueError as error:
                    raise BrokenPlugin(
                        f"{path}, line {node.lineno}: name, version and defaults must be literals"
                    ) from error


def read_entry(node: ast.ClassDef | ast.FunctionDef, call: ast.Call, module: str, origin: str) -> Entry:
    """Describe the plugin that ``node`` defines and ``call`` registers."""
    version = next((k.value for k in call.keywords if k.arg == "version"), ast.Constant(1))
    return Entry(
        name=ast.literal_eval(call.args[0]),
        module=module,
        origin=origin,
        version=ast.literal_eval(version),
        summary=(ast.get_docstring(node) or "").partition("\n")[0],
        options=dict(read_options(node)),
        takes=node.args.args[0].arg if isinstance(node, ast.FunctionDef) and node.args.args else "",
    )


def is_registration(decorator: ast.expr) -> bool:
    """Whether a decorator is ``register("…")`` or ``something.register("…")``."""
    if not (isinstance(decorator, ast.Call) and decorator.args):
        return False
    called = decorator.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "register" and isinstance(decorator.args[0], ast.Constant)


def read_options(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    """Option names and literal defaults, as ``default_options`` finds them once the plugin is loaded."""
    if isinstance(node, ast.FunctionDef):
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if default is not None:
                yield argument.arg, ast.literal_eval(default)
        return
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and inner.name == "Options":
            for line in inner.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
                    yield line.target.id, ast.literal_eval(line.value)


def entry_of(plugin: object, name: str, module: str, version: int) -> Entry:
    """Describe a plugin that is loaded."""
    summary = (inspect.getdoc(plugin) or "").partition("\n")[0]
    takes = "" if inspect.isclass(plugin) else next(iter(inspect.signature(plugin).parameters), "")  # type: ignore[arg-type]
    return Entry(name, module, module, version, summary, default_options(plugin), takes)


def default_options(plugin: Any) -> dict[str, Any]:
    """Option names and defaults: the fields of a class's ``Options``, the keyword-only parameters of a function."""
    if inspect.isclass(plugin):
        options = getattr(plugin, "Options", None)
        return dataclasses.asdict(options()) if options else {}
    parameters = inspect.signature(plugin).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def import_file(path: Path) -> None:
    """Import a Python file under a name of its own."""
    name = f"plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPlugin(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
